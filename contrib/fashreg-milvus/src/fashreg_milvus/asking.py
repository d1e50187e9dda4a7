"""How Milvus is asked until its answer is whole: filters in parts, more candidates, and the rest is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.functional.neighbours import Gallery
from fashreg.functional.pair_scores import product_error
from fashreg.values import Rankings
from fashreg_milvus.candidates import longest, merged, nothing, put, ranked
from fashreg_milvus.checks import refuse
from fashreg_milvus.collection import IDS, MOST, Collection, among

_SPARE = 16  # candidates beyond those wanted: room for the query itself and for ties


@dataclass(frozen=True)
class Asking:
    """A collection and how it is searched: the options of MilvusIndex of the same names."""

    stored: Collection
    metric: str
    index_type: str
    probe: Mapping[str, int | float] | None
    refine: int

    def search(self, queries: Tensor, k: int, own: Tensor, allowed: Tensor | None, where: str | None) -> Rankings:
        """The k best of each query (Q, D); ids equal to `own` (Q,) left out; of the allowed ids, where that holds."""
        return merged([self._best(queries, k, own, part) for part in self._conditions(allowed, where)], k)

    def _conditions(self, allowed: Tensor | None, where: str | None) -> Iterator[str]:
        """Milvus expressions that together hold for what may be found, none for the same row twice."""
        if where is not None:
            self._check_where(where)
        if allowed is None:
            yield where or ""
            return
        wanted = np.unique(allowed.detach().cpu().long().numpy())
        if not len(wanted):
            raise ValueError("no id is allowed: the filter leaves nothing to search")
        missing = np.setdiff1d(wanted, self.stored.stored(wanted))
        refuse(missing, "allowed ids must be in the index; {} not")
        for start in range(0, len(wanted), IDS):
            ids = among(wanted[start : start + IDS])
            yield f"({where}) and {ids}" if where else ids

    def _best(self, queries: Tensor, k: int, own: Tensor, condition: str, wider: int = 1) -> Rankings:
        """The k best rows for which the condition holds, ids equal to `own` (Q,) left out."""
        exact = self.index_type == "FLAT"
        fetch = (k * (1 if exact else self.refine) + _SPARE) * wider
        if fetch > MOST:
            return self._searched_here(queries, k, own, condition)
        ids, rows, scores = self.stored.nearest(queries.numpy(), fetch, condition, self._breadth(fetch))
        lacking = torch.from_numpy((ids < 0).any(1))
        if lacking.any():
            there = self.stored.count(condition)
            if not there and not condition:
                raise ValueError("the index is empty: add vectors before searching")
            wanted = fetch if there <= IDS else k + 1  # a small filter leaves us enough to choose from, or everything
            lacking = torch.from_numpy((ids >= 0).sum(1) < min(there, wanted))
        found = ranked(queries, ids, rows, own, k)
        if exact:
            floor = torch.from_numpy(scores[:, -1]) + product_error(queries, longest(rows, self.metric))
            unsure = (floor >= found.scores[:, -1]) & ~lacking
            if unsure.any():
                put(found, unsure, self._best(queries[unsure], k, own[unsure], condition, 8 * wider))
        if lacking.any():
            put(found, lacking, self._searched_here(queries[lacking], k, own[lacking], condition))
        return found

    def _searched_here(self, queries: Tensor, k: int, own: Tensor, condition: str) -> Rankings:
        ids, rows = self.stored.read(condition)
        if not len(ids) and condition:
            return nothing(len(queries), k)
        return Gallery(torch.from_numpy(rows), torch.from_numpy(ids)).search(queries, k, own)

    def _breadth(self, fetch: int) -> dict[str, int | float]:
        """Search parameters; graphs must be searched at least as broadly as candidates are wanted."""
        given = dict(self.probe or {})
        name = "ef" if self.index_type.startswith("HNSW") else "search_list" if self.index_type == "DISKANN" else ""
        return {**given, name: max(64, fetch, given.get(name, 0))} if name else given

    def _check_where(self, where: str) -> None:
        try:
            if self.stored.count(where):
                return
        except ModelError as error:
            raise ValueError(f"where {where!r}: {error.__cause__ or error}") from error
        raise ValueError(f"where {where!r} fits no row: the filter leaves nothing to search")

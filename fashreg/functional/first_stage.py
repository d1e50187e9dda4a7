"""What a reranker starts from: queries, their first rankings, and the stored vectors of what was ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fashreg.functional.neighbours import check_query_ids
from fashreg.functional.pair_scores import checked_vectors
from fashreg.values import Rankings

if TYPE_CHECKING:
    from fashreg.interfaces import Index


class FirstStage:
    """Checked queries and rankings over an index, and its vectors by id.

    queries: (Q, D) float, kept as fp32 on the CPU. rankings: (Q, K). query_ids: (Q,) or None.
    Vectors come from `index.vectors_of(ids)` where the index has it (a far database need not send everything),
    otherwise from `index.vectors()`, held by reference. Anything of another size, or ids that the index does not hold,
    raise ValueError.
    """

    def __init__(self, queries: Tensor, rankings: Rankings, index: Index, query_ids: Tensor | None = None) -> None:
        self.queries = checked_vectors(queries.detach().cpu(), "queries")
        self.rankings = Rankings(rankings.ids.cpu(), rankings.scores.cpu())
        if self.queries.shape[1] != index.embed_dim:
            raise ValueError(f"queries have width {queries.shape[1]}; the index holds vectors of {index.embed_dim}")
        if rankings.ids.ndim != 2 or rankings.ids.shape != rankings.scores.shape or len(rankings) != len(queries):
            raise ValueError(
                f"{len(queries)} queries need rankings (Q, K) of as many rows, got ids {tuple(rankings.ids.shape)} "
                f"and scores {tuple(rankings.scores.shape)}"
            )
        check_query_ids(len(queries), query_ids)
        self._fetch = getattr(index, "vectors_of", None)
        if self._fetch is None:
            self._vectors, ids = index.vectors()
            ascending = bool((ids[1:] > ids[:-1]).all())
            self._order = None if ascending else ids.argsort()
            self._ids = ids if self._order is None else ids[self._order]

    def top(self, rows: slice, n: int) -> tuple[Tensor, Tensor]:
        """Vectors (q, n, D) fp32 of the first n ranks of these queries, and which of them are there, (q, n) bool.

        n no larger than K; empty places are zeros.
        """
        ids = self.rankings.ids[rows, :n]
        present = ids >= 0
        vectors = self.queries.new_zeros(*ids.shape, self.queries.shape[1])
        wanted = ids[present]
        if len(wanted):
            vectors[present] = (self._found(wanted) if self._fetch is None else self._fetch(wanted)).float()
        return vectors, present

    def _found(self, wanted: Tensor) -> Tensor:
        at = torch.searchsorted(self._ids, wanted).clamp_(max=max(0, len(self._ids) - 1))
        if not len(self._ids) or bool((self._ids[at] != wanted).any()):
            raise ValueError("the rankings name ids that the index does not hold: they come from another gallery")
        found: Tensor = self._vectors[at if self._order is None else self._order[at]]
        return found

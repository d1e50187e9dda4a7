"""Exact nearest neighbours: the same answer whatever the order of the gallery, the blocks or the machine.

Scores are inner products, the cosine for rows of unit length. Rough products with a proven bound on their error screen
the gallery (`fashreg.functional.screened_search`); the few items that may belong to the answer are scored exactly, as
`fashreg.functional.pair_scores` scores every pair. Where k is a large part of the gallery, or the gallery is small,
every pair is scored (`fashreg.functional.exact_keys`). Nothing of size Q x N is kept, and no second copy of the
gallery: it may lie in a file (`torch.from_file`, or a numpy memmap through `torch.from_numpy`) and is read by blocks.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from fashreg.functional.exact_keys import ExactTiles, best_keys
from fashreg.functional.exclusion import Excluded, source_codes
from fashreg.functional.pair_scores import checked_blocks, checked_vectors, padded, unpack
from fashreg.functional.relevance import checked_sources
from fashreg.functional.screened_search import ScreenedSearch, space_of
from fashreg.functional.screening import Screen, integers_pay
from fashreg.values import Rankings

WHOLE_RANKING = sys.maxsize  # a k that means: every gallery item
_BLOCK_BYTES = 1 << 27
_SMALL = 1024  # a gallery of fewer rows is scored whole
_MANY = 32  # so is one of fewer than this times k rows
_FEW = 96  # for fewer queries, rounding the gallery costs more than it saves
_CENTRE = 4096  # rows whose mean stands for the mean of the gallery
_WIDEST = 4096  # largest k that is screened for


def nearest(
    queries: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    k: int,
    query_ids: Tensor | None = None,
    *,
    query_sources: Tensor | None = None,
    gallery_sources: Tensor | None = None,
    block_bytes: int = _BLOCK_BYTES,
) -> Rankings:
    """The k gallery items of largest inner product with each query, best first. Rankings of shape (Q, k).

    queries: (Q, D), gallery: (N, D) float; computed in fp32. gallery_ids: (N,) int64 >= 0, unique. query_ids: (Q,): the
    item of the same id is left out (negative: nobody is). query_sources: (Q,), gallery_sources: (N,) int64, both or
    none: items of the query's own source are left out (negative: no source). block_bytes: about the memory taken beside
    input and output.
    Corner cases: equal scores are ordered by the smaller id; k beyond what there is pads with -1 / -inf, and
    k = WHOLE_RANKING stands for N; an empty gallery, k < 1, NaN, infinity or other widths raise ValueError.
    """
    searched = Gallery(gallery, gallery_ids, gallery_sources)
    return searched.search(queries, k, query_ids, query_sources=query_sources, block_bytes=block_bytes)


def check_query_ids(queries: int, query_ids: Tensor | None) -> None:
    """ValueError unless there is one whole number for each query, or none at all."""
    if query_ids is not None and (query_ids.shape != (queries,) or query_ids.dtype.is_floating_point):
        raise ValueError(f"{queries} queries need as many integer ids, got {query_ids.dtype} {tuple(query_ids.shape)}")


class Gallery:
    """Vectors that are searched more than once: checked, and their ids sorted, a single time.

    vectors: (N, D) float, kept by reference and never copied whole. ids: (N,) int64 >= 0, unique. sources: (N,) int64.
    """

    def __init__(self, vectors: Tensor, ids: Tensor, sources: Tensor | None = None) -> None:
        self.vectors = vectors.detach()
        self.largest = checked_blocks(vectors, "the gallery")
        if not len(vectors):
            raise ValueError("the gallery is empty: there is nothing to search")
        if ids.shape != vectors.shape[:1]:
            raise ValueError(f"{len(vectors)} gallery rows need as many ids, got {tuple(ids.shape)}")
        self.sources = sources
        self.ids, self.order, self.rank = _sorted(ids.long())
        if int(self.ids[0]) < 0 or bool((self.ids[1:] == self.ids[:-1]).any()):
            raise ValueError("gallery ids must be unique and 0 or larger")

    def __len__(self) -> int:
        return len(self.ids)

    @torch.no_grad()
    def search(
        self,
        queries: Tensor,
        k: int,
        query_ids: Tensor | None = None,
        *,
        query_sources: Tensor | None = None,
        block_bytes: int = _BLOCK_BYTES,
    ) -> Rankings:
        """What `nearest` gives."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries, excluded = self.prepared(queries, query_ids, query_sources)
        k = len(self) if k == WHOLE_RANKING else k
        keys = self._keys(queries, excluded, min(k, len(self)), block_bytes)
        return padded(unpack(keys, self.ids), k)

    def prepared(
        self, queries: Tensor, query_ids: Tensor | None, query_sources: Tensor | None
    ) -> tuple[Tensor, Excluded]:
        """Checked queries (Q, D) fp32, and what they may not find."""
        queries = checked_vectors(queries, "queries")
        if queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"queries have width {queries.shape[1]} and the gallery {self.vectors.shape[1]}: other embeddings"
            )
        check_query_ids(len(queries), query_ids)
        sources = None if query_sources is None else self.sources  # nobody asks for a source: nothing is left out
        asked, sources = checked_sources(query_sources, sources, len(queries), len(self))
        return queries, Excluded(self._own(query_ids), *source_codes(asked, sources))

    def places(self, ids: Tensor) -> Tensor:
        """The rows that hold these ids, -1 where none does; of the shape of `ids`."""
        at = torch.searchsorted(self.ids, ids.long().contiguous()).clamp_(max=len(self.ids) - 1)
        rows = at if self.order is None else self.order[at]
        return torch.where(self.ids[at] == ids, rows, -1)

    def ranks_of(self, rows: Tensor) -> Tensor:
        """Places of the ids of some rows among all ids, ascending."""
        return rows if self.rank is None else self.rank[rows]

    def exact(self, queries: Tensor, excluded: Excluded) -> ExactTiles:
        """Every score of these queries, by tiles."""
        return ExactTiles(queries, self.vectors, excluded, float(self.largest))

    def _own(self, query_ids: Tensor | None) -> Tensor | None:
        return None if query_ids is None or not len(query_ids) else self.places(query_ids)

    def _keys(self, queries: Tensor, excluded: Excluded, k: int, block_bytes: int) -> Tensor:
        """(Q, k) keys of the k best of each query, best first."""
        n = len(self)
        if n < max(_SMALL, _MANY * k) or k > _WIDEST:
            return best_keys(self.exact(queries, excluded), self.rank, k, block_bytes)
        centre = None
        if len(queries) >= _FEW and integers_pay(queries.device.type):
            centre = self.vectors[:: -(-n // _CENTRE)].double().mean(0).float()
        keys = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
        step = max(256, block_bytes // (2 * (12 * k + 8 * space_of(k) + 8 * queries.shape[1] + 100)))
        for start in range(0, len(queries), step):
            rows = torch.arange(start, min(start + step, len(queries)), device=queries.device)
            part, left_out = queries[start : start + step], excluded.of(rows)
            search = ScreenedSearch(self.vectors, self.rank, part, left_out, k)
            found, hard = search.run(Screen(part, float(self.largest), centre))
            if hard.any():
                at = hard.nonzero().flatten()
                found[at] = best_keys(self.exact(part[at], left_out.of(at)), self.rank, k, block_bytes)
            keys[start : start + step] = found
        return keys


def _sorted(ids: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Ids ascending, the row of each, and each row's place among them; None twice where the rows are sorted."""
    if bool((ids[1:] > ids[:-1]).all()):
        return ids, None, None
    ids, order = ids.sort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(ids), device=ids.device)
    return ids, order, rank

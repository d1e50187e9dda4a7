"""Exact nearest neighbours: the same answer whatever the order of the gallery, the blocks or the machine.

Scores are inner products, the cosine for rows of unit length. A fast fp32 product screens the gallery. Its rounding
error has a bound, |fl(q.g) - q.g| <= D u |q| |g| (u: unit roundoff), so every item that could belong to the answer is
known; those few are scored again as `fashreg.functional.pair_scores` scores every pair. Nothing of size Q x N is kept:
queries and gallery are walked in blocks within a stated byte budget.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from fashreg.functional.pair_scores import (
    EMPTY,
    checked_vectors,
    pack,
    packed_scores,
    padded,
    product_error,
    score_pairs,
    unpack,
)
from fashreg.functional.similarity import full_precision
from fashreg.values import Rankings

WHOLE_RANKING = sys.maxsize  # a k that means: every gallery item
_BLOCK_BYTES = 1 << 27
_FETCH = 16  # spare candidates taken by the first screening
_ROWS = 256  # queries of a block when the gallery is large: enough to multiply at full speed
_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-10, "medium": 2.0**-7}


def nearest(
    queries: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    k: int,
    query_ids: Tensor | None = None,
    *,
    block_bytes: int = _BLOCK_BYTES,
) -> Rankings:
    """The k gallery items of largest inner product with each query, best first. Rankings of shape (Q, k).

    queries: (Q, D), gallery: (N, D) float; computed in fp32. gallery_ids: (N,) int64 >= 0, unique. query_ids: (Q,): the
    item of the same id is left out (negative: nobody is). block_bytes: about the memory taken beside input and output.
    Corner cases: equal scores are ordered by the smaller id; k beyond what there is pads with -1 / -inf, and
    k = WHOLE_RANKING stands for N; an empty gallery, k < 1, NaN, infinity or other widths raise ValueError.
    """
    return Gallery(gallery, gallery_ids).search(queries, k, query_ids, block_bytes=block_bytes)


def check_query_ids(queries: int, query_ids: Tensor | None) -> None:
    """ValueError unless there is one whole number for each query, or none at all."""
    if query_ids is not None and (query_ids.shape != (queries,) or query_ids.dtype.is_floating_point):
        raise ValueError(f"{queries} queries need as many integer ids, got {query_ids.dtype} {tuple(query_ids.shape)}")


class Gallery:
    """Vectors that are searched more than once: checked, and their ids sorted, a single time.

    vectors: (N, D) float, kept by reference when they are fp32. ids: (N,) int64 >= 0, unique.
    """

    def __init__(self, vectors: Tensor, ids: Tensor) -> None:
        self.vectors = checked_vectors(vectors, "the gallery")
        if not len(vectors):
            raise ValueError("the gallery is empty: there is nothing to search")
        if ids.shape != vectors.shape[:1]:
            raise ValueError(f"{len(vectors)} gallery rows need as many ids, got {tuple(ids.shape)}")
        self.ids, self._order = ids.long().sort()
        if int(self.ids[0]) < 0 or bool((self.ids[1:] == self.ids[:-1]).any()):
            raise ValueError("gallery ids must be unique and 0 or larger")
        places = torch.arange(len(ids), device=ids.device)
        self._rank = torch.empty_like(self._order).scatter_(0, self._order, places)
        self.largest = torch.linalg.vector_norm(self.vectors, dim=1).max()

    @torch.no_grad()
    def search(
        self, queries: Tensor, k: int, query_ids: Tensor | None = None, *, block_bytes: int = _BLOCK_BYTES
    ) -> Rankings:
        """What `nearest` gives."""
        queries = checked_vectors(queries, "queries")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if queries.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"queries have width {queries.shape[1]} and the gallery {self.vectors.shape[1]}: other embeddings"
            )
        check_query_ids(len(queries), query_ids)
        n = len(self.vectors)
        k = n if k == WHOLE_RANKING else k
        keys = _Walk(self.vectors, self._rank, queries, self._own(query_ids), self.largest).keys(min(k, n), block_bytes)
        return padded(unpack(keys, self.ids), k)

    def _own(self, query_ids: Tensor | None) -> Tensor | None:
        """(Q,) gallery row of each query itself, -1 for none."""
        if query_ids is None:
            return None
        at = torch.searchsorted(self.ids, query_ids.long().contiguous()).clamp_(max=len(self.ids) - 1)
        return torch.where((self.ids[at] == query_ids) & (query_ids >= 0), self._order[at], -1)


class _Walk:
    """One search: queries against gallery, block by block. Answers are packed keys, best first."""

    def __init__(self, gallery: Tensor, rank: Tensor, queries: Tensor, own: Tensor | None, largest: Tensor) -> None:
        self.gallery, self.rank, self.queries, self.own = gallery, rank, queries, own
        self.error = product_error(queries, largest, _ROUNDOFF[torch.get_float32_matmul_precision()])
        self.room: Tensor | None = None

    def keys(self, k: int, block_bytes: int) -> Tensor:
        """(Q, k) keys of the k best."""
        n = len(self.gallery)
        columns = max(k, min(n, block_bytes // (8 * _ROWS)))
        rows = max(1, min(4 * _ROWS, block_bytes // (8 * columns), block_bytes // (32 * (k + _FETCH))))
        found = torch.empty(len(self.queries), k, dtype=torch.int64, device=self.queries.device)
        for start in range(0, len(self.queries), rows):
            part = slice(start, start + rows)
            best = self._top(part, slice(0, columns), k)
            for left in range(columns, n, columns):
                block = self._top(part, slice(left, left + columns), k)
                best = torch.cat([best, block], 1).topk(k, 1).values
            found[part] = best
        return found

    def _top(self, rows: slice, columns: slice, k: int) -> Tensor:
        """(r, k) keys of the best items among these gallery rows."""
        queries, gallery, rank = self.queries[rows], self.gallery[columns], self.rank[columns]
        n = len(gallery)
        screen = self._screen(queries, gallery)
        if self.own is not None:
            own = self.own[rows] - columns.start
            inside = ((own >= 0) & (own < n)).nonzero().flatten()
            screen[inside, own[inside]] = -torch.inf
        fetch = k + _FETCH + k // 4
        if fetch >= n:
            everything = torch.arange(n, device=screen.device).expand(screen.shape)
            return _best(queries, gallery, rank, screen, everything, k)
        coarse, candidates = screen.topk(fetch, 1)
        keys = _best(queries, gallery, rank, coarse, candidates, k)
        floor = packed_scores(keys[:, -1]) - self.error[rows]  # who screens below this cannot be among the k
        unsure = (coarse[:, -1] >= floor).nonzero().flatten()
        if len(unsure):
            keys[unsure] = _settled(queries[unsure], gallery, rank, screen[unsure], floor[unsure], k)
        return keys

    def _screen(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """(r, n) fp32 products, written over those of the block before: fresh memory costs more than the product."""
        size = len(queries) * len(gallery)
        if self.room is None or len(self.room) < size:
            self.room = queries.new_empty(size)
        with full_precision(queries):
            return torch.mm(queries, gallery.T, out=self.room[:size].view(len(queries), len(gallery)))


def _settled(queries: Tensor, gallery: Tensor, rank: Tensor, screen: Tensor, floor: Tensor, k: int) -> Tensor:
    """The keys of queries for which more items than were fetched could be among the k: all that could are scored."""
    fetch = int((screen >= floor[:, None]).sum(1).max())
    step, keys = max(1, (1 << 19) // fetch), []
    for start in range(0, len(queries), step):
        coarse, candidates = screen[start : start + step].topk(fetch, 1)
        keys.append(_best(queries[start : start + step], gallery, rank, coarse, candidates, k))
    return torch.cat(keys)


def _best(queries: Tensor, gallery: Tensor, rank: Tensor, coarse: Tensor, candidates: Tensor, k: int) -> Tensor:
    """The k best keys among the candidates (columns of the gallery); those of coarse score -inf are left out."""
    exact = score_pairs(queries, gallery, candidates)
    keys = pack(exact, rank[candidates]).masked_fill_(coarse == -torch.inf, EMPTY)
    if keys.shape[1] < k:
        keys = torch.nn.functional.pad(keys, (0, k - keys.shape[1]), value=EMPTY)
    return keys.topk(k, 1).values

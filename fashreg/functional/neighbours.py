"""Exact nearest neighbours: the same answer whatever the order of the gallery, the blocks or the machine.

Scores are inner products, the cosine for rows of unit length. A fast fp32 product screens the gallery. Its rounding
error has a bound, |fl(q.g) - q.g| <= D u |q| |g| (u: unit roundoff), so every item that could belong to the answer is
known; those few are scored again in fp64, one fixed way for each pair, and rounded to fp32. Equal scores are ordered by
the smaller id. Nothing of size Q x N is kept: queries and gallery are walked in blocks within a stated byte budget.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from fashreg.functional.similarity import full_precision
from fashreg.values import Rankings

WHOLE_RANKING = sys.maxsize  # a k that means: every gallery item
_FETCH = 16  # spare candidates taken by the first screening
_ROWS = 256  # queries of a block when the gallery is large: enough to multiply at full speed
_LOW = 0xFFFFFFFF
_EMPTY = -(2**63)  # the key of a place that nobody takes
_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-10, "medium": 2.0**-7}
_PAIR_BYTES = 1 << 24  # room for one block of fp64 products


@torch.no_grad()
def nearest(
    queries: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    k: int,
    query_ids: Tensor | None = None,
    *,
    block_bytes: int = 1 << 27,
) -> Rankings:
    """The k gallery items of largest inner product with each query, best first. Rankings of shape (Q, k).

    queries: (Q, D), gallery: (N, D) float; computed in fp32. gallery_ids: (N,) int64 >= 0, unique. query_ids: (Q,): the
    item of the same id is left out (negative: nobody is). block_bytes: about the memory taken beside input and output.
    Corner cases: equal scores are ordered by the smaller id; k beyond what there is pads with -1 / -inf, and
    k = WHOLE_RANKING stands for N; an empty gallery, k < 1, NaN, infinity or other widths raise ValueError.
    """
    queries, gallery = checked_vectors(queries, "queries"), checked_vectors(gallery, "the gallery")
    _check(queries, gallery, gallery_ids, k, query_ids)
    search = _Search(queries, gallery, gallery_ids, query_ids)
    k = len(gallery) if k == WHOLE_RANKING else k
    n, width = len(gallery), min(k, len(gallery))
    columns = max(width, min(n, block_bytes // (8 * _ROWS)))
    rows = max(1, min(4 * _ROWS, block_bytes // (8 * columns), block_bytes // (32 * (width + _FETCH))))
    found = []
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        keys = None
        for left in range(0, n, columns):
            block = search.top(part, slice(left, min(left + columns, n)), width)
            keys = block if keys is None else torch.cat([keys, block], 1).topk(width, 1).values
        found.append(keys)
    keys = torch.cat([key for key in found if key is not None]) if found else gallery_ids.new_zeros(0, width)
    return _unpack(keys, search.ids, k)


def padded(rankings: Rankings, k: int) -> Rankings:
    """The same rankings with empty places (-1 / -inf) at the end, so that they are at least k wide."""
    missing = (0, max(0, k - rankings.ids.shape[1]))
    pad = torch.nn.functional.pad
    return Rankings(pad(rankings.ids, missing, value=-1), pad(rankings.scores, missing, value=-torch.inf))


def score_pairs(queries: Tensor, gallery: Tensor, columns: Tensor) -> Tensor:
    """(Q, C) fp32: inner product of query q with gallery row columns[q, c], summed in fp64, the same way for each pair.

    Two pairs of equal rows get equal scores, wherever the rows stand. queries: (Q, D), gallery: (N, D) fp32.
    """
    q, c = columns.shape
    scores = torch.empty(q, c, dtype=torch.float32, device=queries.device)
    step = max(1, _PAIR_BYTES // max(1, 8 * c * queries.shape[1]))
    wide = max(1, _PAIR_BYTES // (8 * queries.shape[1]))
    for start in range(0, q, step):
        for left in range(0, c, wide):
            block = (slice(start, start + step), slice(left, left + wide))
            rows = gallery[columns[block]].double()
            scores[block] = rows.mul_(queries[block[0], None].double()).sum(-1).float()
    return scores


def checked_vectors(vectors: Tensor, what: str) -> Tensor:
    """`vectors` as detached fp32 (R, D), if they are finite numbers of a size that fp32 can multiply; ValueError."""
    if vectors.ndim != 2 or not vectors.dtype.is_floating_point or vectors.shape[1] == 0:
        raise ValueError(f"{what} must be float vectors (rows, D), got {vectors.dtype} {tuple(vectors.shape)}")
    vectors = vectors.detach().float()
    if vectors.numel():
        low, high = torch.aminmax(vectors)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            bad = (~torch.isfinite(vectors).all(1)).nonzero().flatten()
            raise ValueError(f"{what}: row {int(bad[0])} holds NaN or infinity ({len(bad)} such rows)")
        if max(-float(low), float(high)) * vectors.shape[1] ** 0.5 > 1e18:
            raise ValueError(f"{what} hold numbers too large for inner products in fp32; scale them to unit length")
    return vectors


class _Search:
    """Queries and gallery with what bounds their scores; `top` answers for one block as packed keys."""

    def __init__(self, queries: Tensor, gallery: Tensor, gallery_ids: Tensor, query_ids: Tensor | None) -> None:
        self.queries, self.gallery = queries, gallery
        self.room: Tensor | None = None
        self.ids, order = gallery_ids.long().sort()
        self.rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        self.own = None
        if query_ids is not None:
            at = torch.searchsorted(self.ids, query_ids.long()).clamp_(max=len(order) - 1)
            self.own = torch.where((self.ids[at] == query_ids) & (query_ids >= 0), order[at], -1)
        largest = torch.linalg.vector_norm(gallery, dim=1).max()
        roundoff = _ROUNDOFF[torch.get_float32_matmul_precision()]
        self.error = torch.linalg.vector_norm(queries, dim=1) * largest * (queries.shape[1] + 8) * roundoff + 1e-35

    def top(self, rows: slice, columns: slice, k: int) -> Tensor:
        """(r, k) keys, best first, of the best items among these gallery rows."""
        queries, gallery, rank = self.queries[rows], self.gallery[columns], self.rank[columns]
        n = len(gallery)
        screen = self._screen(queries, gallery)
        if self.own is not None:
            own = self.own[rows] - columns.start
            inside = ((own >= 0) & (own < n)).nonzero().flatten()
            screen[inside, own[inside]] = -torch.inf
        fetch = k + _FETCH + k // 4
        if fetch >= n:
            return _best(queries, gallery, rank, screen, _all_columns(screen), k)
        coarse, candidates = screen.topk(fetch, 1)
        keys = _best(queries, gallery, rank, coarse, candidates, k)
        error = self.error[rows]
        floor = _scores_of(keys[:, -1]) - error  # who screens below this cannot be among the k
        open_ = (coarse[:, -1] >= floor).nonzero().flatten()
        if len(open_):
            keys[open_] = self._settle(queries[open_], gallery, rank, screen[open_], floor[open_], k)
        return keys

    def _screen(self, queries: Tensor, gallery: Tensor) -> Tensor:
        """(r, n) fp32 products, written over those of the block before: fresh memory costs more than the product."""
        size = len(queries) * len(gallery)
        if self.room is None or len(self.room) < size:
            self.room = queries.new_empty(size)
        with full_precision(queries):
            return torch.mm(queries, gallery.T, out=self.room[:size].view(len(queries), len(gallery)))

    @staticmethod
    def _settle(queries: Tensor, gallery: Tensor, rank: Tensor, screen: Tensor, floor: Tensor, k: int) -> Tensor:
        """The keys of queries for which more items than were fetched could be among the k: take all that could."""
        fetch = int((screen >= floor[:, None]).sum(1).max())
        step, keys = max(1, _PAIR_BYTES // (32 * fetch)), []
        for start in range(0, len(queries), step):
            coarse, candidates = screen[start : start + step].topk(fetch, 1)
            keys.append(_best(queries[start : start + step], gallery, rank, coarse, candidates, k))
        return torch.cat(keys)


def _best(queries: Tensor, gallery: Tensor, rank: Tensor, coarse: Tensor, candidates: Tensor, k: int) -> Tensor:
    """The k best keys among the candidates (columns of the gallery); those of coarse score -inf are left out."""
    exact = score_pairs(queries, gallery, candidates)
    keys = _pack(exact, rank[candidates]).masked_fill_(coarse == -torch.inf, _EMPTY)
    if keys.shape[1] < k:
        keys = torch.nn.functional.pad(keys, (0, k - keys.shape[1]), value=_EMPTY)
    return keys.topk(k, 1).values


def _pack(scores: Tensor, rank: Tensor) -> Tensor:
    """One int64 that orders like (score, then smaller rank): score bits above, inverted rank of the id below."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    ordered = torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF).long()
    return (ordered << 32) | (_LOW - rank)


def _scores_of(keys: Tensor) -> Tensor:
    ordered = (keys >> 32).int()
    return torch.where(ordered >= 0, ordered, ordered ^ 0x7FFFFFFF).view(torch.float32)


def _unpack(keys: Tensor, ids: Tensor, k: int) -> Rankings:
    empty = keys == _EMPTY
    scores = _scores_of(keys).masked_fill_(empty, -torch.inf)
    rank = (_LOW - (keys & _LOW)).clamp_(max=len(ids) - 1)
    found = ids[rank].masked_fill_(empty, -1)
    return padded(Rankings(found, scores), k)


def _all_columns(screen: Tensor) -> Tensor:
    return torch.arange(screen.shape[1], device=screen.device).expand(screen.shape)


def _check(queries: Tensor, gallery: Tensor, gallery_ids: Tensor, k: int, query_ids: Tensor | None) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not len(gallery):
        raise ValueError("the gallery is empty: there is nothing to search")
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries have width {queries.shape[1]} and the gallery {gallery.shape[1]}: other embeddings")
    if gallery_ids.shape != gallery.shape[:1]:
        raise ValueError(f"{len(gallery)} gallery rows need as many ids, got {tuple(gallery_ids.shape)}")
    if query_ids is not None and query_ids.shape != queries.shape[:1]:
        raise ValueError(f"{len(queries)} queries need as many ids, got {tuple(query_ids.shape)}")
    ordered = gallery_ids.sort().values
    if int(ordered[0]) < 0 or bool((ordered[1:] == ordered[:-1]).any()):
        raise ValueError("gallery ids must be unique and 0 or larger")

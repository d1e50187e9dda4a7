"""Scores of single pairs, the same on every path, and the one order of equal scores.

A score is the inner product of two fp32 rows, summed in fp64 and rounded to fp32: it depends on the two rows alone and
never on where they stand or what is computed beside them. Larger is nearer; equal scores are ordered by the smaller id.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fashreg.values import Rankings

EMPTY = -(2**63)  # the key of a place that nobody takes
_LOW = 0xFFFFFFFF
_PAIR_BYTES = 1 << 21  # room for one block of fp64 products, so that it stays in the cache
_LISTED = 1 << 16  # numbers of a block of listed pairs
_CHECKED = 1 << 20  # numbers looked at together


def score_pairs(queries: Tensor, gallery: Tensor, columns: Tensor) -> Tensor:
    """(Q, C) fp32: inner product of query q with gallery row columns[q, c]. queries: (Q, D), gallery: (N, D) fp32."""
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


def score_listed(queries: Tensor, gallery: Tensor, owner: Tensor, columns: Tensor) -> Tensor:
    """(P,) fp32: the same score for single pairs, query owner[p] with gallery row columns[p].

    gallery: (N, D) of any float type; fp32 numbers are what counts.
    """
    scores = torch.empty(len(owner), dtype=torch.float32, device=queries.device)
    step = max(1, min(len(owner), _LISTED // queries.shape[1]))
    wide = queries.double()
    left = torch.empty(step, queries.shape[1], dtype=torch.float64, device=queries.device)
    right = torch.empty_like(left)  # written over and over: fresh memory costs more than the products
    for start in range(0, len(owner), step):
        part = slice(start, min(start + step, len(owner)))
        size = part.stop - start
        torch.index_select(wide, 0, owner[part], out=left[:size])
        right[:size] = gallery.index_select(0, columns[part]).float()
        scores[part] = left[:size].mul_(right[:size]).sum(-1)
    return scores


def rank_candidates(queries: Tensor, gallery: Tensor, gallery_ids: Tensor, columns: Tensor, k: int) -> Rankings:
    """The k best of some candidates of each query. Rankings of shape (Q, k).

    columns: (Q, C) rows of the gallery, each at most once for a query; negative = none.
    """
    ids = torch.where(columns >= 0, gallery_ids[columns], -1)
    ids, order = ids.sort(1)
    scores = score_pairs(queries, gallery, columns.gather(1, order).clamp(min=0)).masked_fill_(ids < 0, -torch.inf)
    ranked = torch.sort(scores + 0.0, dim=1, descending=True, stable=True)  # + 0.0 makes -0.0 equal to 0.0
    return padded(Rankings(ids.gather(1, ranked.indices)[:, :k], ranked.values[:, :k]), k)


def padded(rankings: Rankings, k: int) -> Rankings:
    """The same rankings with empty places (-1 / -inf) at the end, so that they are at least k wide."""
    missing = (0, max(0, k - rankings.ids.shape[1]))
    pad = torch.nn.functional.pad
    return Rankings(pad(rankings.ids, missing, value=-1), pad(rankings.scores, missing, value=-torch.inf))


def product_error(queries: Tensor, largest: Tensor, roundoff: float = 2.0**-24) -> Tensor:
    """(Q,) bound on |computed - true inner product|, for gallery rows no longer than `largest`, summed in any order."""
    lengths: Tensor = torch.linalg.vector_norm(queries, dim=1)
    return lengths * (largest * ((queries.shape[1] + 8) * roundoff)) + 1e-35


def checked_vectors(vectors: Tensor, what: str) -> Tensor:
    """`vectors` as detached fp32 (R, D), if they are finite numbers of a size that fp32 can multiply; ValueError."""
    checked_blocks(vectors, what)
    return vectors.detach().float()


def checked_blocks(vectors: Tensor, what: str) -> Tensor:
    """The length of the longest row of vectors (R, D), checked as above and read once, by blocks, without a copy."""
    if vectors.ndim != 2 or not vectors.dtype.is_floating_point or vectors.shape[1] == 0:
        raise ValueError(f"{what} must be float vectors (rows, D), got {vectors.dtype} {tuple(vectors.shape)}")
    largest = torch.zeros((), device=vectors.device)
    step = max(1, _CHECKED // vectors.shape[1])
    for start in range(0, len(vectors), step):
        rows = vectors.detach()[start : start + step].float()
        low, high = torch.aminmax(rows)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            bad = (~torch.isfinite(rows).all(1)).nonzero().flatten()
            raise ValueError(f"{what}: row {start + int(bad[0])} holds NaN or infinity")
        if max(-float(low), float(high)) * vectors.shape[1] ** 0.5 > 1e18:
            raise ValueError(f"{what} hold numbers too large for inner products in fp32; scale them to unit length")
        largest = torch.maximum(largest, torch.linalg.vector_norm(rows, dim=1).max())
    return largest


def pack(scores: Tensor, rank: Tensor) -> Tensor:
    """One int64 that orders like (score, then smaller rank): score bits above, inverted rank of the id below."""
    bits = (scores + 0.0).view(torch.int32)
    ordered = ((bits >> 31) & 0x7FFFFFFF).bitwise_xor_(bits).long()
    return ordered.bitwise_left_shift_(32).bitwise_or_(_LOW - rank)


def packed_scores(keys: Tensor) -> Tensor:
    """The scores in keys."""
    ordered = (keys >> 32).int()
    return torch.where(ordered >= 0, ordered, ordered ^ 0x7FFFFFFF).view(torch.float32)


def largest(values: Tensor, k: int) -> Tensor:
    """(Q, k): the k largest of each row (Q, n), largest first; numpy sorts many times faster than torch on the CPU."""
    if values.device.type != "cpu":
        return values.topk(k, 1).values
    rows = values.numpy()
    if rows.shape[1] > 8 * k:
        rows = np.partition(rows, rows.shape[1] - k, axis=1)[:, -k:]
    return torch.from_numpy(np.sort(rows, axis=1)[:, ::-1][:, :k].copy())


def positions(mask: Tensor) -> Tensor:
    """Where a mask is true, counted through all of it row by row; on the CPU numpy finds them several times faster."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def unpack(keys: Tensor, ids: Tensor) -> Rankings:
    """Keys (Q, K) as rankings; ids: (N,) by rank, ascending."""
    empty = keys == EMPTY
    scores = packed_scores(keys).masked_fill_(empty, -torch.inf)
    rank = (_LOW - (keys & _LOW)).clamp_(max=len(ids) - 1)
    return Rankings(ids[rank].masked_fill_(empty, -1), scores)

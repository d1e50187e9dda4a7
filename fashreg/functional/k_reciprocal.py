"""How many neighbours two pictures share, where a neighbour counts only if it is one in both directions.

Z. Zhong, L. Zheng, D. Cao, S. Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. Computed
for many small sets of points at once, each a query with its candidates: dense (B, M, M) matrices, no loop over points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.pair_scores import pack
from fashreg.functional.similarity import full_precision


@torch.no_grad()
def shared_neighbours(points: Tensor, present: Tensor, k1: int, k2: int) -> Tensor:
    """(B, M) fp32 in 0..1: the Jaccard similarity 1 - d_J of point 0 with every point of its set.

    points: (B, M, D) rows of length 1; point 0 is the query. present: (B, M) bool; absent points are nobody's
    neighbour and get 0. k1: neighbours beside the point itself. k2: points of the average, the point itself included.
    Equally near points are ordered by their place in the set.
    """
    if points.ndim != 3 or present.shape != points.shape[:2] or min(k1, k2) < 1:
        raise ValueError(
            "shared_neighbours takes points (B, M, D), present (B, M), k1 >= 1 and k2 >= 1; got "
            f"{tuple(points.shape)}, {tuple(present.shape)}, {k1}, {k2}"
        )
    cosine = _cosines(points)
    order = _order(cosine, present, max(k1 + 1, k2))
    pairs = present[:, :, None] & present[:, None, :]
    mutual = _mutual(_nearest(order, k1 + 1, pairs))
    half = _mutual(_nearest(order, (k1 + 1) // 2 + 1, pairs))
    encoded = torch.exp(cosine - 1).mul_(_expanded(mutual, half))
    encoded = encoded.div_(encoded.sum(2, keepdim=True).clamp_(min=1e-12))
    few = _nearest(order, k2, pairs)
    encoded = torch.bmm(few, encoded).div_(few.sum(2, keepdim=True).clamp_(min=1))  # local query expansion
    query = encoded[:, :1]
    return torch.minimum(query, encoded).sum(2) / torch.maximum(query, encoded).sum(2).clamp(min=1e-12)


def _cosines(points: Tensor) -> Tensor:
    """(B, M, M) fp32 inner products, summed in fp64 so that they do not depend on what is computed beside them."""
    with full_precision(points):
        wide = points.double() if points.device.type != "mps" else points.float()
        return torch.bmm(wide, wide.transpose(1, 2)).float()


def _order(cosine: Tensor, present: Tensor, count: int) -> Tensor:
    """(B, M, count or M) places of the points nearest to each: itself, then the others, absent ones last."""
    ranked = cosine.masked_fill(~present[:, None, :], -torch.inf)
    ranked.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    places = torch.arange(ranked.shape[2], device=ranked.device)
    return pack(ranked, places).topk(min(count, len(places)), 2).indices  # equal scores: the smaller place


def _nearest(order: Tensor, k: int, pairs: Tensor) -> Tensor:
    """(B, M, M) 0/1: row i marks N(i, k), point i itself among them."""
    return torch.zeros(pairs.shape, device=order.device).scatter_(2, order[:, :, :k], 1.0).mul_(pairs)


def _mutual(near: Tensor) -> Tensor:
    """R(i, k) = {j in N(i, k) with i in N(j, k)}."""
    return near * near.transpose(1, 2)


def _expanded(mutual: Tensor, half: Tensor) -> Tensor:
    """R*(i, k1): R(i, k1) and every R(j, k1 / 2) of a j in it of which two thirds lie in R(i, k1)."""
    overlap = torch.bmm(mutual, half)  # |R(i, k1) and R(j, k1 / 2)|
    taken = mutual * (3 * overlap >= 2 * half.sum(2)[:, None, :])
    return (mutual + torch.bmm(taken, half)).clamp_(max=1.0)

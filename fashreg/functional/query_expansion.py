"""A query moved towards what it found: the weighted sum of itself and its nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.similarity import unit_rows


@torch.no_grad()
def expanded_queries(queries: Tensor, neighbours: Tensor, present: Tensor, alpha: float) -> Tensor:
    """(Q, D) fp32: q + sum_i max(0, cos(q, g_i))^alpha g_i over unit rows, brought to the length of the query.

    queries: (Q, D). neighbours: (Q, n, D), the nearest first. present: (Q, n) bool; absent neighbours have no weight.
    alpha >= 0; with 0 every neighbour weighs as much as the query, one of negative cosine too. A sum without direction
    leaves the query as it was.
    """
    if neighbours.ndim != 3 or present.shape != neighbours.shape[:2] or neighbours.shape[::2] != queries.shape:
        raise ValueError(
            "expanded_queries takes queries (Q, D), neighbours (Q, n, D) and present (Q, n); got "
            f"{tuple(queries.shape)}, {tuple(neighbours.shape)}, {tuple(present.shape)}"
        )
    wide = queries.double()
    own = unit_rows(wide)
    others = unit_rows(neighbours.double().flatten(0, 1)).view(neighbours.shape)
    cosine = torch.einsum("qd,qnd->qn", own, others)
    weights = cosine.clamp(min=0).pow(alpha) * present  # 0 ** 0 is 1
    moved = own + torch.einsum("qn,qnd->qd", weights, others)
    length = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    moved = torch.where(torch.linalg.vector_norm(moved, dim=1, keepdim=True) > 1e-9, moved, own)
    answer: Tensor = unit_rows(moved) * length
    return answer.float()

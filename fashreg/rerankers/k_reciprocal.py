"""Re-ranking by shared mutual neighbours."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional.first_stage import FirstStage
from fashreg.functional.k_reciprocal import shared_neighbours
from fashreg.functional.similarity import unit_rows
from fashreg.interfaces import Index
from fashreg.values import Rankings

_BLOCK_BYTES = 1 << 25
_DEEPEST = 4096
_MATRICES = 10  # (M, M) matrices of 4 bytes that a query with its M - 1 candidates takes at once


class KReciprocalReranker:
    """Candidates that share mutual neighbours with the query move up.

    The query q and its first `depth` candidates form one set of points. With N(i, k) the k points nearest to i, and i,

        R(i, k)  = {j in N(i, k): i in N(j, k)}
        R*(i)    = R(i, k1) and every R(j, k1/2), j in R(i, k1), of which at least 2/3 lie in R(i, k1)
        V(i, j)  = exp(-d(i, j)) / z_i for j in R*(i), else 0;   d(i, j) = 1 - cos(i, j);   z_i makes the sum over j 1
        V'(i, .) = mean of V(j, .) over the k2 points j nearest to i, i itself the first (local query expansion)
        d_J(q, g) = 1 - sum_j min(V'(q, j), V'(g, j)) / sum_j max(V'(q, j), V'(g, j))
        d*(q, g)  = (1 - w) d_J(q, g) + w d(q, g),   w = original_weight; score = 1 - d*

    Ranks beyond `depth` stay behind in their order: of them d_J = 1 is assumed. Equal scores keep the first order.

    Source: Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
        https://arxiv.org/abs/1701.08398

    Differs from the paper: neighbours are sought among a query's own candidates, not in the whole gallery with all
    queries, so a query costs O(depth^2 (D + depth)) whatever the size of the gallery and its answer depends on no other
    query; a depth as large as the gallery gives the paper's sets. The division by z_i is that of the authors' program.
    d is the cosine distance, for vectors of any length; the paper has a Mahalanobis distance, the authors' program a
    squared distance over its largest value.

    See also: query-expansion.

    Args:
        k1: how many neighbours are looked at for mutual ones; about as many as a query has relevant pictures, or more.
        k2: how many nearest points are averaged, the point itself included; 1 leaves the local expansion out.
        original_weight: w, the share of the original distance, 0..1; with 1 the order does not change.
        depth: how many candidates of the first stage are re-ranked; several times k1. Memory grows with its square:
            0.7 GB at 4096, the most it may be.
    """

    def __init__(
        self,
        k1: Annotated[int, Field(gt=0)] = 20,
        k2: Annotated[int, Field(gt=0)] = 6,
        original_weight: Annotated[float, Field(ge=0, le=1)] = 0.3,
        depth: Annotated[int, Field(gt=0, le=_DEEPEST)] = 100,
    ) -> None:
        self.k1, self.k2, self.original_weight, self.depth = k1, k2, original_weight, depth
        if min(k1, k2, depth) < 1 or depth > _DEEPEST:
            raise ValueError(f"k1, k2 and depth must be at least 1, depth at most {_DEEPEST}; got {k1}, {k2}, {depth}")
        if not 0 <= original_weight <= 1:
            raise ValueError(f"original_weight must lie in 0..1, got {original_weight}")

    @torch.no_grad()
    def __call__(
        self,
        queries: Tensor,
        rankings: Rankings,
        index: Index,
        *,
        query_ids: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Rankings:
        """The same ids in a new order. queries: (Q, D) float; rankings of shape (Q, K).

        query_ids, allowed: what the first stage was given; it left out what they exclude, and nothing else is added.
        """
        first = FirstStage(queries, rankings, index, query_ids)
        own = unit_rows(first.queries)
        depth = min(self.depth, rankings.ids.shape[1])
        ids, scores = first.rankings.ids.clone(), self.original_weight * first.rankings.scores.float()
        step = max(1, _BLOCK_BYTES // (4 * _MATRICES * (depth + 1) ** 2))
        for start in range(0, len(ids), step):
            rows = slice(start, start + step)
            found = self._scores(own[rows], *first.top(rows, depth))
            ranked = found.sort(dim=1, descending=True, stable=True)
            ids[rows, :depth] = ids[rows, :depth].gather(1, ranked.indices)
            scores[rows, :depth] = ranked.values
        scores = scores.masked_fill_(ids < 0, -torch.inf)
        return Rankings(ids, scores.cummin(1).values if scores.numel() else scores)

    def _scores(self, own: Tensor, candidates: Tensor, present: Tensor) -> Tensor:
        """(q, n) scores of the candidates (q, n, D); -inf for empty places."""
        candidates = unit_rows(candidates.flatten(0, 1)).view(candidates.shape)
        points = torch.cat([own[:, None], candidates], 1)
        present = torch.cat([present.new_ones(len(own), 1), present], 1)
        jaccard = shared_neighbours(points, present, self.k1, self.k2)[:, 1:]
        cosine = torch.einsum("qd,qnd->qn", own.double(), candidates.double()).float()
        scores = (1 - self.original_weight) * jaccard + self.original_weight * cosine
        return scores.masked_fill_(~present[:, 1:], -torch.inf)

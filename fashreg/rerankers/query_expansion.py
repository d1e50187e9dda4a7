"""Asking again with a query moved towards its first answers."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional.first_stage import FirstStage
from fashreg.functional.query_expansion import expanded_queries
from fashreg.interfaces import Index
from fashreg.values import Rankings

_BLOCK_BYTES = 1 << 26


class QueryExpansionReranker:
    """Every query is searched again as the weighted sum of itself and its nearest answers.

    With unit vectors q and g_1 ... g_n, the first n ranks (the query itself never among them),

        q' = q + sum_i max(0, cos(q, g_i))^alpha g_i

    brought to the length of q, asks the index anew, with the same exclusions and filter. alpha = 0 is the plain average
    (AQE); a larger alpha trusts near answers more. What the first search missed can be found. It helps where the first
    answers are mostly right and hurts where they are not: choose n below the number of relevant pictures.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018,
        https://arxiv.org/abs/1711.02512
    Source: Chum, Philbin, Sivic, Isard, Zisserman, "Total Recall: Automatic Query Expansion with a Generative Feature
        Model for Object Retrieval", ICCV 2007 (the average, there of spatially verified answers)

    Differs from the papers: a negative cosine counts as 0 (a power of it need not exist), answers are not verified.

    See also: k-reciprocal.

    Args:
        n: how many answers of the first stage join the query.
        alpha: power of their cosine, >= 0; 3 is the paper's value, 0 the plain average.
    """

    def __init__(self, n: Annotated[int, Field(gt=0)] = 3, alpha: Annotated[float, Field(ge=0)] = 3.0) -> None:
        self.n, self.alpha = n, alpha
        if n < 1 or not 0 <= alpha < float("inf"):
            raise ValueError(f"n must be at least 1 and alpha a number of at least 0, got {n} and {alpha}")

    @property
    def depth(self) -> int:
        """How many ranks of the first stage it wants to see."""
        return self.n

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
        """Rankings (Q, K) of the expanded queries, K as wide as `rankings`. queries: (Q, D) float.

        query_ids, allowed: what the first stage was given, passed on to the second search.
        """
        first = FirstStage(queries, rankings, index, query_ids)
        width = rankings.ids.shape[1]
        n = min(self.n, width)
        moved = torch.empty_like(first.queries)
        step = max(1, _BLOCK_BYTES // (8 * n * moved.shape[1])) if n else 1
        for start in range(0, len(moved), step):
            rows = slice(start, start + step)
            moved[rows] = expanded_queries(first.queries[rows], *first.top(rows, n), self.alpha)
        return index.search(moved, width, query_ids=query_ids, allowed=allowed)

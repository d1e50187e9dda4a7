"""Retrieval by degree: what shares more attributes with the query should come first."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fashreg.functional import graded
from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged
from fashreg.values import Rankings, Relevance


class AttributeOverlapEvaluator:
    """`attribute-ndcg@k`: nDCG@k with the share of equal attributes as the gain.

    The grade of an item x for a query q is, over the attributes A(q, x) that are known of both,

        gain(q, x) = |{a in A(q, x): q_a = x_a}| / |A(q, x)|             counted as 0 below `threshold`,

        attribute-ndcg@k = DCG@k / best possible DCG@k,       DCG@k = sum_{i<=k} gain(i) / log2(i + 1).

    Attributes with few values make it large for a random order already; what that scores is
    `fashreg.functional.metrics.random_ndcg_at_k`. Whoever evaluates asks `relevance_from_attributes` for the grades;
    given another relevance, this measures nDCG by the grades of that one.

    Source: Jarvelin, Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 2002,
        https://doi.org/10.1145/582415.582418

    See also: attribute-retrieval (one attribute at a time), retrieval (equal labels).

    Args:
        ks: the cut-offs; the first one gives the primary metric.
        threshold: least share of equal attributes that is a gain at all, 0..1.
    """

    def __init__(
        self,
        ks: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (10,),
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        self.ks, self.threshold = tuple(ks), threshold
        if not self.ks or any(k < 1 for k in self.ks):
            raise ValueError(f"ks must be one or more numbers of 1 or larger, got {self.ks}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is a share of attributes, 0..1, got {threshold}")
        self.primary = f"attribute-ndcg@{self.ks[0]}"

    def relevance_from_attributes(
        self,
        query_values: Tensor,
        query_ids: Tensor,
        gallery_values: Tensor,
        gallery_ids: Tensor,
        *,
        query_sources: Tensor | None = None,
        gallery_sources: Tensor | None = None,
    ) -> Relevance:
        """The grades. query_values: (Q, A), gallery_values: (N, A) int64, a column for each attribute, -1 = unknown."""
        return graded.relevance_from_attributes(
            query_values,
            query_ids,
            gallery_values,
            gallery_ids,
            threshold=self.threshold,
            query_sources=query_sources,
            gallery_sources=gallery_sources,
        )

    def depth(self, relevance: Relevance) -> int:
        """The deepest cut-off."""
        return max(self.ks)

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        """nDCG@k before the mean, (Q,) float64; NaN where a query has no relevant item."""
        return {f"attribute-ndcg@{k}": m.ndcg_at_k(judged, relevance, k) for k in self.ks}

    def per_query(self, rankings: Rankings, relevance: Relevance) -> dict[str, Tensor]:
        """The same, from rankings."""
        return self.from_judged(m.judge(rankings, relevance), relevance)

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        """Mean over the queries that have relevant items, by name."""
        return {name: m.average(values) for name, values in self.per_query(rankings, relevance).items()}

"""Retrieval by one attribute after another, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged
from fashreg.functional.neighbours import WHOLE_RANKING
from fashreg.functional.relevance import counts
from fashreg.values import Rankings, Relevance


class AttributeRetrievalEvaluator:
    """Mean average precision per attribute beside that of a random ranking, and both means over attributes.

    Called once for each attribute a, with the whole rankings of its queries among its candidates (an item is relevant
    when it has the query's value of a). It gives `map` = MAP_a, the mean over queries of

        AP = (1/R) sum_i rel(i) P(i)                                 over the whole ranking, no cut-off,

    `map_random`, the expectation of the same for a random order of N candidates,

        E[AP] = (1/N) [ (R - 1)/(N - 1) (N - H_N) + H_N ],           H_N = sum_{i<=N} 1/i,

    and `recall@k`. `combine` then joins the attributes, with Q_a queries each, for every number x into

        x/weighted = sum_a Q_a x_a / sum_a Q_a       x/mean = (1/A) sum_a x_a       x = the one that `average` names.

    The papers report the first; attributes with many queries rule it. The second gives each attribute one voice.

    Source: Ma, Dong, Long, Zhang, He, Xu, "Fine-Grained Fashion Similarity Learning by Attribute-Specific Embedding
        Network", AAAI 2020, https://arxiv.org/abs/2002.02814 (protocol); the expectation is derived in
        fashreg.functional.metrics.random_average_precision

    Differs from their code: equal scores are ordered by id and not left to the sort; a query without relevant
    candidates does not count, where theirs scores 0 (`without_relevant="zero"` is theirs).

    See also: retrieval.

    Args:
        average: which mean over attributes carries the plain names, so also the primary `map`.
        ks: cut-offs of recall@k beside the average precision.
        without_relevant: what a query without relevant candidates counts: nothing ("skip") or 0 ("zero").
    """

    primary = "map"

    def __init__(
        self,
        average: Literal["weighted", "mean"] = "weighted",
        ks: tuple[Annotated[int, Field(gt=0)], ...] = (1,),
        without_relevant: Literal["skip", "zero"] = "skip",
    ) -> None:
        self.average, self.ks, self.without_relevant = average, tuple(ks), without_relevant
        if average not in ("weighted", "mean"):
            raise ValueError(f'average must be "weighted" or "mean", got {average!r}')
        if without_relevant not in ("skip", "zero"):
            raise ValueError(f'without_relevant must be "skip" or "zero", got {without_relevant!r}')
        if any(k < 1 for k in self.ks):
            raise ValueError(f"ks must be 1 or larger, got {self.ks}")

    def depth(self, relevance: Relevance) -> int:
        """Average precision without a cut-off needs the whole ranking."""
        return WHOLE_RANKING

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        """The numbers of one attribute before the mean, (Q,) float64; NaN where a query does not count."""
        chance = m.random_average_precision(judged.items, judged.counts)
        values = {"map": m.average_precision(judged), "map_random": chance}
        values |= {f"recall@{k}": m.recall_at_k(judged, k) for k in self.ks}
        if self.without_relevant == "zero":
            values = {name: value.nan_to_num(0.0) for name, value in values.items()}
        return values

    def per_query(self, rankings: Rankings, relevance: Relevance) -> dict[str, Tensor]:
        """The same, from rankings."""
        return self.from_judged(m.judge(rankings, relevance), relevance)

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        """The numbers of one attribute."""
        return {name: m.average(values) for name, values in self.per_query(rankings, relevance).items()}

    def support(self, relevance: Relevance) -> int:
        """Q_a: how many queries of an attribute count."""
        return len(relevance) if self.without_relevant == "zero" else int((counts(relevance) > 0).sum())

    def combine(self, numbers: Mapping[str, Mapping[str, float]], support: Mapping[str, int]) -> dict[str, float]:
        """All attributes together. numbers: what a call gave for each attribute. support: Q_a of each."""
        if not numbers or set(numbers) != set(support):
            raise ValueError(
                f"every attribute needs its support: numbers of {sorted(numbers)}, support of {sorted(support)}"
            )
        total = sum(support.values())
        if min(support.values()) < 1:
            raise ValueError("an attribute without queries has no numbers; leave it out")
        combined: dict[str, float] = {}
        for name in next(iter(numbers.values())):
            combined[f"{name}/weighted"] = sum(support[a] * found[name] for a, found in numbers.items()) / total
            combined[f"{name}/mean"] = sum(found[name] for found in numbers.values()) / len(numbers)
            combined[name] = combined[f"{name}/{self.average}"]
        return combined

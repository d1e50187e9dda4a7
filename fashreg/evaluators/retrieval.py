"""The usual numbers of an image retrieval paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged
from fashreg.functional.neighbours import WHOLE_RANKING
from fashreg.functional.relevance import counts
from fashreg.values import Rankings, Relevance

_AT_K: dict[str, Callable[[Judged, int], Tensor]] = {
    "recall": m.recall_at_k,
    "hit-rate": m.recall_at_k,
    "share-found": m.share_found_at_k,
    "precision": m.precision_at_k,
    "mrr": m.reciprocal_rank,
}
_GAINS = ("ndcg", "binary-ndcg")
_AT_R: dict[str, Callable[[Judged], Tensor]] = {"map@r": m.map_at_r, "r-precision": m.r_precision}
_WHOLE: dict[str, Callable[[Judged], Tensor]] = {"map": m.average_precision, "mrr": m.reciprocal_rank}
_CHOICES = (*(f"{name}@k" for name in (*_AT_K, *_GAINS)), *_AT_R, *_WHOLE)


class RetrievalEvaluator:
    """Recall@k, MAP@R, R-precision, MRR, mAP, precision@k, nDCG@k and their kin, each the mean over queries.

    With R relevant items of a query (itself left out), rel(i) = 1 where rank i is relevant and
    P(i) = (1/i) sum_{j<=i} rel(j):

        recall@k       1 when one of the first k is relevant, else 0; `hit-rate@k` is another name of it
        share-found@k  (1/R) sum_{i<=k} rel(i), which information retrieval calls recall
        precision@k    P(k)
        map@r          (1/R) sum_{i<=R} rel(i) P(i)
        r-precision    P(R)
        map            (1/R) sum_i rel(i) P(i) over the whole ranking
        mrr, mrr@k     1 / rank of the first relevant item; beyond k it counts 0
        ndcg@k         DCG@k over the best possible DCG@k; gains are the grades, or 1
        binary-ndcg@k  the same with gains of 1 where there are grades

    All are fractions. Queries without relevant items do not count; when there is no other, ValueError.
    `per_query` gives the numbers before the mean, NaN for queries that do not count.

    Source: Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020, https://arxiv.org/abs/2003.08505
        (MAP@R and why Recall@1 alone misleads)

    See also: attribute-retrieval; fashreg.functional.metrics holds every definition as a function.

    Args:
        ks: the cut-offs that a metric written with `@k` is reported at.
        metrics: names from the list above; `recall@k` stands for one at each of ks, `recall@5` for itself. `map` and
            `mrr` need the whole ranking, which costs more than the default's few ranks.
        primary: the reported metric that chooses the best checkpoint; larger is better.
    """

    def __init__(
        self,
        ks: tuple[Annotated[int, Field(gt=0)], ...] = (1, 10),
        metrics: tuple[str, ...] = ("recall@k", "map@r", "r-precision", "mrr@10"),
        primary: str = "map@r",
    ) -> None:
        self.ks, self.metrics, self.primary = tuple(ks), tuple(metrics), primary
        if any(k < 1 for k in self.ks):
            raise ValueError(f"ks must be 1 or larger, got {self.ks}")
        self._names = tuple(dict.fromkeys(name for metric in self.metrics for name in _expanded(metric, self.ks)))
        if primary not in self._names:
            raise ValueError(f"primary {primary!r} is not among the reported metrics: {', '.join(self._names)}")

    def depth(self, relevance: Relevance) -> int:
        """How many ranks the metrics must see; WHOLE_RANKING where they need all."""
        if any(name in _WHOLE for name in self._names):
            return WHOLE_RANKING
        deepest = int(counts(relevance).max()) if len(relevance) and any(n in _AT_R for n in self._names) else 1
        return max([1, deepest, *(_cut(name) for name in self._names)])

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        """Each metric before the mean, (Q,) float64 by name; NaN where a query has no relevant item."""
        return {name: _value(name, judged, relevance) for name in self._names}

    def per_query(self, rankings: Rankings, relevance: Relevance) -> dict[str, Tensor]:
        """The same, from rankings."""
        return self.from_judged(m.judge(rankings, relevance), relevance)

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        """Mean over the queries that have relevant items, by name."""
        return {name: m.average(values) for name, values in self.per_query(rankings, relevance).items()}


def _expanded(metric: str, ks: tuple[int, ...]) -> list[str]:
    """The reported names that one entry of `metrics` stands for."""
    if metric in _AT_R or metric in _WHOLE:
        return [metric]
    name, _, cut = metric.partition("@")
    if (name in _AT_K or name in _GAINS) and re.fullmatch(r"k|[1-9]\d*", cut):
        return [f"{name}@{k}" for k in ks] if cut == "k" else [metric]
    near = get_close_matches(metric, _CHOICES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no metric {metric!r}{hint} There are {', '.join(_CHOICES)}, with k or a number after the @")


def _cut(name: str) -> int:
    """k of a name like recall@10, 0 for a metric without."""
    tail = name.partition("@")[2]
    return int(tail) if tail.isdigit() else 0


def _value(name: str, judged: Judged, relevance: Relevance) -> Tensor:
    if name in _AT_R:
        return _AT_R[name](judged)
    if name in _WHOLE:
        return _WHOLE[name](judged)
    kind = name.partition("@")[0]
    if kind == "binary-ndcg":
        return m.ndcg_at_k(replace(judged, gains=None), replace(relevance, grades=None), _cut(name))
    if kind == "ndcg":
        return m.ndcg_at_k(judged, relevance, _cut(name))
    return _AT_K[kind](judged, _cut(name))

"""Retrieval metrics, exact, one number per query. Each is a fraction 0..1, larger is better.

`judge(rankings, relevance)` looks every ranked item up once; the metrics are functions of what it found and give (Q,)
float64, NaN for a query without relevant items. `average` takes the mean over the others. In the formulas R is the
number of relevant items of a query (itself left out), rel(i) is 1 when the item at rank i is relevant and 0 otherwise,
and P(i) = (1/i) sum_{j<=i} rel(j) is the precision at rank i.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.relevance import counts, gains, hits
from fashreg.values import Rankings, Relevance

_EULER = 0.57721566490153286


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Rankings held against relevance. hits: (Q, K) bool, best first. counts: (Q,) int64, R of each query.

    complete: (Q,) bool: the ranking ended in padding, so it holds all there was.
    """

    hits: Tensor
    counts: Tensor
    complete: Tensor

    @property
    def depth(self) -> int:
        """K, how many ranks were seen."""
        return int(self.hits.shape[1])


def judge(rankings: Rankings, relevance: Relevance) -> Judged:
    """Look up which ranked items are relevant."""
    ids = rankings.ids
    complete = ids[:, -1] < 0 if ids.shape[1] else torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    return Judged(hits(relevance, ids), counts(relevance), complete)


def average(values: Tensor) -> float:
    """Mean over the queries that have relevant items; ValueError when there is none."""
    known = values[~values.isnan()]
    if not len(known):
        raise ValueError(f"none of the {len(values)} queries has a relevant item: there is nothing to measure")
    return float(known.mean())


def recall_at_k(judged: Judged, k: int) -> Tensor:
    """1 when at least one of the first k items is relevant, else 0: `recall@k` as metric learning reports it.

    Elsewhere the same is called hit rate, success@k or top-k accuracy, and "recall" means the share of the relevant
    items that were found. Source: Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding",
    CVPR 2016, https://arxiv.org/abs/1511.06452
    """
    return _known(_first(judged, k).any(1), judged)


def precision_at_k(judged: Judged, k: int) -> Tensor:
    """P(k): the share of relevant items among the first k; places that stay empty count as misses."""
    return _known(_first(judged, k).sum(1).double() / k, judged)


def r_precision(judged: Judged) -> Tensor:
    """P(R): precision at the number of relevant items.

    Source: Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", 2008, section 8.4
    """
    return _known(_within_r(judged).sum(1).double() / judged.counts, judged)


def map_at_r(judged: Judged) -> Tensor:
    """AP at R: (1/R) sum_{i<=R} rel(i) P(i). Its mean over queries is MAP@R.

    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020, https://arxiv.org/abs/2003.08505
    """
    return _known(_precision_sum(_within_r(judged)) / judged.counts, judged)


def average_precision(judged: Judged) -> Tensor:
    """AP over the whole ranking, no cut-off: (1/R) sum_i rel(i) P(i). Its mean over queries is mAP.

    ValueError when a relevant item was not ranked although the ranking does not hold the whole gallery.
    """
    unseen = (judged.hits.sum(1) < judged.counts) & ~judged.complete
    if unseen.any():
        raise ValueError(
            f"average precision needs the whole ranking; {int(unseen.sum())} queries have relevant items beyond the "
            f"{judged.depth} ranks given (or outside the gallery)"
        )
    return _known(_precision_sum(judged.hits) / judged.counts, judged)


def reciprocal_rank(judged: Judged, k: int | None = None) -> Tensor:
    """1 / rank of the first relevant item. Within the first k (`mrr@k`) 0 when there is none; without k, all ranks.

    ValueError without k when a query's first relevant item was not ranked and the ranking does not hold the gallery.
    """
    found = judged.hits if k is None else _first(judged, k)
    ranks = torch.arange(1, found.shape[1] + 1, dtype=torch.float64, device=found.device)
    best = (found / ranks).amax(1) if found.shape[1] else ranks.new_zeros(len(found))
    if k is None and ((best == 0) & (judged.counts > 0) & ~judged.complete).any():
        raise ValueError(
            f"mrr needs the rank of the first relevant item; it lies beyond the {judged.depth} ranks given"
        )
    return _known(best, judged)


def ndcg_at_k(rankings: Rankings, relevance: Relevance, k: int) -> Tensor:
    """DCG@k / best possible DCG@k with DCG@k = sum_{i<=k} gain(i) / log2(i + 1).

    gain: the grade of a relevant item as it is (linear), 1 without grades; for 2^grade - 1 give such grades.
    Source: Jarvelin, Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002 (with base-2 discount
    from rank 1, as scikit-learn's ndcg_score).
    """
    _needs(rankings.ids.shape[1], k)
    discount = 1.0 / torch.arange(2, k + 2, dtype=torch.float64, device=rankings.ids.device).log2()
    found = gains(relevance, rankings.ids[:, :k]) @ discount
    total = counts(relevance)
    best = _best_gains(relevance, total, k) @ discount
    return torch.where(total > 0, found / best, torch.nan)


def random_average_precision(items: Tensor, relevant: Tensor) -> Tensor:
    """Expected AP of a random order of N items of which R are relevant; NaN where R = 0. (...) int64 -> (...) float64.

    E = (1/N) [ (R - 1)/(N - 1) (N - H_N) + H_N ] with H_N = sum_{i<=N} 1/i.
    From E[rel(i) P(i)] = (R/N) (1/i) (1 + (i - 1)(R - 1)/(N - 1)), summed over i and divided by R.
    """
    n, r = items.double(), relevant.double()
    harmonic = torch.special.digamma(n + 1) + _EULER
    rest = (r - 1) / (n - 1).clamp(min=1)
    return torch.where((r > 0) & (n > 0), (rest * (n - harmonic) + harmonic) / n, torch.nan)


def _known(values: Tensor, judged: Judged) -> Tensor:
    return torch.where(judged.counts > 0, values.double(), torch.nan)


def _first(judged: Judged, k: int) -> Tensor:
    _needs(judged.depth, k)
    return judged.hits[:, :k]


def _needs(depth: int, k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if depth < k:
        raise ValueError(f"a metric at {k} needs {k} ranks, and the rankings hold {depth}")


def _within_r(judged: Judged) -> Tensor:
    """(Q, max R) bool: hits among the first R ranks of each query."""
    deepest = int(judged.counts.max()) if len(judged.counts) else 0
    if judged.depth < deepest:
        raise ValueError(
            f"a query has {deepest} relevant items, so R ranks are {deepest}; the rankings hold {judged.depth}"
        )
    ranks = torch.arange(deepest, device=judged.hits.device)
    return judged.hits[:, :deepest] & (ranks < judged.counts[:, None])


def _precision_sum(found: Tensor) -> Tensor:
    """sum_i rel(i) P(i) over the columns of hits (Q, K), in fp64."""
    ranks = torch.arange(1, found.shape[1] + 1, dtype=torch.float64, device=found.device)
    return (found.cumsum(1, dtype=torch.float64) / ranks).mul_(found).sum(1)


def _best_gains(relevance: Relevance, total: Tensor, k: int) -> Tensor:
    """(Q, k) float64: the k largest grades of what is relevant to each query, largest first, 0 beyond."""
    if relevance.grades is None or not len(relevance.ids):
        return (torch.arange(k, device=total.device) < total[:, None]).double()
    sizes = relevance.offsets.diff()
    owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    order = relevance.grades.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]  # by group, largest grade first
    at = relevance.offsets[relevance.group][:, None] + torch.arange(k + 1, device=sizes.device)
    inside = at < relevance.offsets[relevance.group + 1][:, None]
    at = order[at.clamp(max=len(order) - 1)]
    inside &= relevance.ids[at] != relevance.query_ids[:, None]  # itself left out: k + 1 were looked at
    found = torch.where(inside, relevance.grades.double()[at], 0.0)
    return found.sort(1, descending=True).values[:, :k]

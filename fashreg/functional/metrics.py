"""Retrieval metrics, exact, one number per query. Each is a fraction 0..1, larger is better.

`judge(rankings, relevance)` looks every ranked item up once and keeps the ranks of the hits; the metrics are functions
of these and give (Q,) float64, NaN for a query without relevant items. `average` takes the mean over the others. In the
formulas R is the number of relevant items of a query (itself and what is excluded left out), rel(i) is 1 when the item
at rank i is relevant and 0 otherwise, and P(i) = (1/i) sum_{j<=i} rel(j) is the precision at rank i.

Rankings may be shorter than a metric asks for as long as what was not seen cannot change it; otherwise ValueError.
docs/metrics.md writes every definition out, with the names that other libraries use.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.judged import Judged, joined, judged_from_hits
from fashreg.functional.relevance import counts, hit_positions, relevant_of
from fashreg.values import Rankings, Relevance

_EULER = 0.57721566490153286
_NEVER = 2**62  # rank of the first hit where there is none
_BLOCK = 1 << 20  # listed relevant items looked at at once


def judge(rankings: Rankings, relevance: Relevance) -> Judged:
    """Look up where the relevant items stand."""
    ids, total, parts = rankings.ids, counts(relevance), []
    items = (ids >= 0).sum(1)
    grades = None if relevance.grades is None else relevance.grades.double()
    for rows, positions in hit_positions(relevance, ids):
        found = positions >= 0
        gains = None if grades is None else grades[positions] if len(grades) else found.double()
        parts.append(judged_from_hits(found, total[rows], items[rows], gains))
    return joined(parts) if parts else judged_from_hits(ids >= 0, total, items, None if grades is None else ids)


def average(values: Tensor) -> float:
    """Mean over the queries that have relevant items; ValueError when there is none."""
    known = values[~values.isnan()]
    if not len(known):
        raise ValueError(f"none of the {len(values)} queries has a relevant item: there is nothing to measure")
    return float(known.mean())


def recall_at_k(judged: Judged, k: int) -> Tensor:
    """1 when at least one of the first k items is relevant, else 0: `recall@k` as metric learning reports it.

    Elsewhere the same is called hit rate (`hit-rate@k`), success@k or top-k accuracy, and "recall" means the share of
    the relevant items that were found, which is `share_found_at_k` here. Source: Song et al., "Deep Metric Learning via
    Lifted Structured Feature Embedding", CVPR 2016, https://arxiv.org/abs/1511.06452
    """
    _needs(judged, k)
    return _known(_first_rank(judged) <= k, judged)


def precision_at_k(judged: Judged, k: int) -> Tensor:
    """P(k): the share of relevant items among the first k; places that stay empty count as misses."""
    _needs(judged, k)
    return _known(_found_within(judged, k) / k, judged)


def share_found_at_k(judged: Judged, k: int) -> Tensor:
    """(1/R) sum_{i<=k} rel(i): the share of the relevant items found within k, "recall@k" of information retrieval.

    It cannot reach 1 where R > k. Source: Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", 2008,
    section 8.3
    """
    _needs(judged, k)
    return _known(_found_within(judged, k) / judged.counts, judged)


def r_precision(judged: Judged) -> Tensor:
    """P(R): precision at the number of relevant items.

    Source: Manning, Raghavan, Schuetze, "Introduction to Information Retrieval", 2008, section 8.4
    """
    _needs_r(judged)
    return _known(_found_within(judged, judged.counts) / judged.counts, judged)


def map_at_r(judged: Judged) -> Tensor:
    """AP at R: (1/R) sum_{i<=R} rel(i) P(i). Its mean over queries is MAP@R.

    Source: Musgrave et al., "A Metric Learning Reality Check", ECCV 2020, https://arxiv.org/abs/2003.08505
    """
    _needs_r(judged)
    within = judged.ranks <= judged.counts[judged.owners()]
    return _known(judged.sums(torch.where(within, _precisions(judged), 0.0)) / judged.counts, judged)


def average_precision(judged: Judged) -> Tensor:
    """AP over the whole ranking, no cut-off: (1/R) sum_i rel(i) P(i). Its mean over queries is mAP.

    ValueError when a relevant item was not ranked although the ranking does not hold the whole gallery.
    """
    unseen = judged.unseen()
    if unseen.any():
        raise ValueError(
            f"average precision needs the whole ranking; {int(unseen.sum())} queries have relevant items beyond the "
            f"{judged.depth} ranks given (or outside the gallery)"
        )
    return _known(judged.sums(_precisions(judged)) / judged.counts, judged)


def reciprocal_rank(judged: Judged, k: int | None = None) -> Tensor:
    """1 / rank of the first relevant item. Within the first k (`mrr@k`) 0 when there is none; without k, all ranks.

    ValueError without k when a query's first relevant item was not ranked and the ranking does not hold the gallery.
    Source: Voorhees, "The TREC-8 Question Answering Track Report", TREC 1999
    """
    first = _first_rank(judged)
    if k is None:
        if (judged.unseen() & (first == _NEVER)).any():
            raise ValueError(
                f"mrr needs the rank of the first relevant item; it lies beyond the {judged.depth} ranks given"
            )
        k = _NEVER - 1
    else:
        _needs(judged, k)
    return _known(torch.where(first <= k, 1.0 / first.double(), 0.0), judged)


def ndcg_at_k(judged: Judged, relevance: Relevance, k: int) -> Tensor:
    """DCG@k / best possible DCG@k with DCG@k = sum_{i<=k} gain(i) / log2(i + 1).

    gain: the grade of a relevant item as it is (linear), 1 without grades; for 2^grade - 1 give such grades.
    relevance: what was judged; its grades say what the best order would gain.
    Source: Jarvelin, Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002 (with base-2 discount
    from rank 1, as scikit-learn's ndcg_score).
    """
    _needs(judged, k)
    gains = torch.ones_like(judged.ranks, dtype=torch.float64) if judged.gains is None else judged.gains
    gains = torch.where(judged.ranks <= k, gains / (judged.ranks + 1).double().log2(), 0.0)
    if (judged.gains is None) != (relevance.grades is None):
        raise ValueError("hits were judged by another relevance: both or neither must have grades")
    best, _ = _to_gain(relevance, judged.counts, k)
    return torch.where(judged.counts > 0, judged.sums(gains) / best, torch.nan)


def random_average_precision(items: Tensor, relevant: Tensor) -> Tensor:
    """Expected AP of a random order of N items of which R are relevant; NaN where R = 0. (...) int64 -> (...) float64.

    E = (1/N) [ (R - 1)/(N - 1) (N - H_N) + H_N ] with H_N = sum_{i<=N} 1/i.
    From E[rel(i) P(i)] = (R/N) (1/i) (1 + (i - 1)(R - 1)/(N - 1)), summed over i and divided by R.
    """
    n, r = items.double(), relevant.double()
    harmonic = torch.special.digamma(n + 1) + _EULER
    rest = (r - 1) / (n - 1).clamp(min=1)
    return torch.where((r > 0) & (n > 0), (rest * (n - harmonic) + harmonic) / n, torch.nan)


def random_ndcg_at_k(relevance: Relevance, items: Tensor, k: int) -> Tensor:
    """Expected nDCG@k of a random order of the N items of each query, (Q,) float64; NaN where nothing is relevant.

    items: (Q,) int64, N without the query itself and what is excluded (`Judged.items` of whole rankings).
    Every rank holds every item with the same chance, so E[gain(i)] = (1/N) sum of all grades, whatever i <= N, and
    E[nDCG@k] = E[gain] sum_{i<=min(k, N)} 1 / log2(i + 1) / best possible DCG@k.
    """
    total = counts(relevance)
    best, sums = _to_gain(relevance, total, k)
    reached = torch.cat([best.new_zeros(1), _discounts(k, best).cumsum(0)])[items.clamp(max=k)]
    return torch.where(total > 0, sums / items.clamp(min=1) * reached / best, torch.nan)


def _known(values: Tensor, judged: Judged) -> Tensor:
    return torch.where(judged.counts > 0, values.double(), torch.nan)


def _needs(judged: Judged, k: int) -> None:
    """ValueError when ranks up to k could hold a relevant item that was not seen."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if judged.depth is not None and judged.depth < k and judged.unseen().any():
        raise ValueError(f"a metric at {k} needs {k} ranks, and the rankings hold {judged.depth}")


def _needs_r(judged: Judged) -> None:
    """The same with each query's own R for k."""
    if judged.depth is None:
        return
    short = judged.unseen() & (judged.counts > judged.depth)
    if short.any():
        deepest = int(judged.counts[short].max())
        raise ValueError(
            f"a query has {deepest} relevant items, so R ranks are {deepest}; the rankings hold {judged.depth}"
        )


def _precisions(judged: Judged) -> Tensor:
    """(H,) float64: P at the rank of each hit."""
    return judged.places().double() / judged.ranks


def _found_within(judged: Judged, limit: int | Tensor) -> Tensor:
    """(Q,) float64: hits among the first `limit` ranks; one limit, or (Q,) of them."""
    limits = limit[judged.owners()] if isinstance(limit, Tensor) else limit
    return judged.sums(judged.ranks <= limits)


def _first_rank(judged: Judged) -> Tensor:
    """(Q,) int64: rank of the first hit."""
    some = judged.offsets.diff() > 0
    first = torch.full_like(judged.counts, _NEVER)
    first[some] = judged.ranks[judged.offsets[:-1][some]]
    return first


def _to_gain(relevance: Relevance, total: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(Q,) float64 twice: the best possible DCG@k, and the sum of the grades of all that is relevant. total: (Q,) R."""
    discount = _discounts(k, total)
    if relevance.grades is None:
        return (torch.arange(k, device=total.device) < total[:, None]).double() @ discount, total.double()
    best, sums = [discount[:0]], [discount[:0]]
    step = max(1, _BLOCK // max(1, int(relevance.offsets.diff().max()))) if len(total) else 1
    for start in range(0, len(total), step):
        offsets, _, grades = relevant_of(relevance, slice(start, start + step))
        assert grades is not None
        sizes = offsets.diff()
        owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        written = grades.new_zeros(len(sizes), max(k, int(sizes.max())))
        written[owner, torch.arange(len(grades), device=sizes.device) - offsets[owner]] = grades
        best.append((written.topk(k, 1).values * discount).sum(1))
        sums.append(torch.segment_reduce(grades, "sum", offsets=offsets))
    return torch.cat(best), torch.cat(sums)


def _discounts(k: int, like: Tensor) -> Tensor:
    """(k,) float64: 1 / log2(rank + 1)."""
    return 1.0 / torch.arange(2, k + 2, dtype=torch.float64, device=like.device).log2()

"""Answering a question: rankings, re-ranked if asked, judged query by query within a byte budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged
from fashreg.functional.ranks import judge_whole
from fashreg.functional.relevance import counts, select
from fashreg.interfaces import Evaluator, Index, Reranker
from fashreg.jobs.evaluation_question import Question, QuestionIndex
from fashreg.jobs.reranking import search_and_rerank
from fashreg.values import Rankings, Relevance

_RANKING_BYTES = 1 << 26  # rankings up to this size are held whole
_CELL = 12  # bytes of an id and a score
_JUDGED, _HIT = 48, 64  # bytes taken on the way by a ranked item that is judged, by a relevant item
# Measured: ranks of hits without rankings are found sooner than rankings deeper than an eighth of the gallery, unless
# more than a tenth of the gallery is relevant.
_DEEP, _MANY = 8, 10

Values = dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What evaluators found. numbers: by evaluator, metric -> value. values: by evaluator, metric -> (Q,) before the
    mean, None for one that only reads rankings. first: the first ranks, (Q, first).
    """

    numbers: list[dict[str, float]]
    values: list[Values | None]
    first: Rankings | None


def answer(
    question: Question,
    evaluators: Sequence[Evaluator],
    rerankers: Sequence[Reranker] = (),
    *,
    first: int = 0,
    ranking_bytes: int = _RANKING_BYTES,
) -> Answer:
    """Rank and judge. first: how many ranks to keep of every query.

    An evaluator with `from_judged` is given hit ranks, of some queries at a time when rankings of all are larger than
    `ranking_bytes`; of whole rankings these are found without making any. One without sees the rankings themselves,
    whatever their size.
    """
    size, index = len(question.gallery), QuestionIndex(question)
    width = max([first, *(e.depth(question.relevance) for e in evaluators)])
    fits = len(question.queries) * min(width, size) * _CELL <= ranking_bytes
    if fits or not all(hasattr(evaluator, "from_judged") for evaluator in evaluators):
        rankings = ranked(question, width, rerankers, index)
        values = _values(evaluators, m.judge(rankings, question.relevance), question.relevance)
        return _answer(question, evaluators, values, rankings, first)
    relevant = counts(question.relevance)
    if not rerankers and _DEEP * width >= size and _MANY * float(relevant.double().mean()) <= size:
        steps = _blocks(relevant + 1, ranking_bytes // _HIT)
        parts = [_whole_values(question, evaluators, rows) for rows in steps]
        rankings = question.search(max(1, first))
    else:
        parts, kept = [], []
        for rows in _blocks(torch.full_like(question.queries.ids, min(width, size)), ranking_bytes // _JUDGED):
            rankings, relevance = ranked(question, width, rerankers, index, rows), select(question.relevance, rows)
            parts.append(_values(evaluators, m.judge(rankings, relevance), relevance))
            kept.append(first_ranks(rankings, first))
        rankings = Rankings(torch.cat([r.ids for r in kept]), torch.cat([r.scores for r in kept]))
    return _answer(question, evaluators, [_joined(found) for found in zip(*parts, strict=True)], rankings, first)


def _answer(
    question: Question,
    evaluators: Sequence[Evaluator],
    values: list[Values | None],
    rankings: Rankings,
    first: int,
) -> Answer:
    numbers = [
        evaluator(rankings, question.relevance)
        if found is None
        else {name: m.average(column) for name, column in found.items()}
        for evaluator, found in zip(evaluators, values, strict=True)
    ]
    return Answer(numbers, values, first_ranks(rankings, first) if first else None)


def _values(evaluators: Sequence[Any], judged: Judged, relevance: Relevance) -> list[Values | None]:
    """What each evaluator says of each query, None for one that reads rankings only."""
    return [e.from_judged(judged, relevance) if hasattr(e, "from_judged") else None for e in evaluators]


def _whole_values(question: Question, evaluators: Sequence[Evaluator], rows: slice) -> list[Values | None]:
    """The same for some queries, from whole rankings that are never made."""
    queries, gallery, relevance = question.queries, question.gallery, select(question.relevance, rows)
    judged = judge_whole(
        queries.vectors[rows],
        gallery.vectors,
        relevance,
        gallery.ids,
        query_ids=queries.ids[rows],
        query_sources=None if queries.sources is None else queries.sources[rows],
        gallery_sources=gallery.sources,
    )
    return _values(evaluators, judged, relevance)


def _joined(parts: Sequence[Values | None]) -> Values | None:
    """Blocks of queries, one after another."""
    known = [part for part in parts if part is not None]
    return {name: torch.cat([part[name] for part in known]) for name in known[0]} if known else None


def ranked(
    question: Question, width: int, rerankers: Sequence[Reranker], index: QuestionIndex, rows: slice | None = None
) -> Rankings:
    """The rankings of all queries, or of some, after every reranker in turn."""
    if rows is None and not rerankers:
        return question.search(width)
    some = slice(None) if rows is None else rows
    queries, ids = question.queries.vectors[some], question.queries.ids[some]
    return search_and_rerank(cast(Index, index), queries, width, rerankers, query_ids=ids)


def first_ranks(rankings: Rankings, count: int) -> Rankings:
    """A copy of the first ranks, so that the others can be forgotten."""
    return Rankings(rankings.ids[:, :count].clone(), rankings.scores[:, :count].clone())


def _blocks(sizes: Tensor, budget: int) -> Iterator[slice]:
    """Neighbouring queries that together stay within the budget, one at least. sizes: (Q,) of each."""
    ends, start = sizes.cumsum(0), 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, before + budget, right=True)))
        yield slice(start, stop)
        start = stop

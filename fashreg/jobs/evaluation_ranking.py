"""Answering a question: rankings, re-ranked if asked, judged query by query within a byte budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged, joined
from fashreg.functional.relevance import select
from fashreg.interfaces import Evaluator, Index, Reranker
from fashreg.jobs.evaluation_question import Question, QuestionIndex
from fashreg.jobs.reranking import search_and_rerank
from fashreg.values import Rankings

_RANKING_BYTES = 1 << 26  # rankings up to this size are held whole
_CELL = 12  # bytes of an id and a score


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What evaluators found. numbers: by evaluator, metric -> value. values: by evaluator, metric -> (Q,) before the
    mean, None for one that only reads rankings. first: the first ranks, (Q, first).
    """

    numbers: list[dict[str, float]]
    values: list[dict[str, Tensor] | None]
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

    An evaluator with `from_judged` is given hit ranks, found without ever holding the rankings when these are larger
    than `ranking_bytes`. One without sees the rankings themselves, whatever their size.
    """
    size, index = len(question.gallery), QuestionIndex(question)
    width = max([first, *(e.depth(question.relevance) for e in evaluators)])
    fits = len(question.queries) * min(width, size) * _CELL <= ranking_bytes
    if fits or not all(hasattr(evaluator, "from_judged") for evaluator in evaluators):
        rankings = ranked(question, width, rerankers, index)
        judged = m.judge(rankings, question.relevance)
        return _answer(question, evaluators, judged, rankings, first)
    parts, kept = [], []
    for rows in _blocks(len(question.queries), min(width, size), ranking_bytes):
        rankings = ranked(question, width, rerankers, index, rows)
        parts.append(m.judge(rankings, select(question.relevance, rows)))
        kept.append(first_ranks(rankings, first))
    rankings = Rankings(torch.cat([r.ids for r in kept]), torch.cat([r.scores for r in kept]))
    return _answer(question, evaluators, joined(parts), rankings, first)


def _answer(
    question: Question, evaluators: Sequence[Evaluator], judged: Judged, rankings: Rankings | None, first: int
) -> Answer:
    numbers, values = [], []
    for evaluator in evaluators:
        found = _from_judged(evaluator, judged, question)
        values.append(found)
        if found is None:
            assert rankings is not None
            numbers.append(evaluator(rankings, question.relevance))
        else:
            numbers.append({name: m.average(column) for name, column in found.items()})
    return Answer(numbers, values, None if rankings is None or not first else first_ranks(rankings, first))


def _from_judged(evaluator: Any, judged: Judged, question: Question) -> dict[str, Tensor] | None:
    if not hasattr(evaluator, "from_judged"):
        return None
    found: dict[str, Tensor] = evaluator.from_judged(judged, question.relevance)
    return found


def ranked(
    question: Question, width: int, rerankers: Sequence[Reranker], index: QuestionIndex, rows: slice | None = None
) -> Rankings:
    """The rankings of all queries, or of some, after every reranker in turn."""
    if not rerankers:
        return question.search(width, rows)
    some = slice(None) if rows is None else rows
    queries, ids = question.queries.vectors[some], question.queries.ids[some]
    return search_and_rerank(cast(Index, index), queries, width, rerankers, query_ids=ids)


def first_ranks(rankings: Rankings, count: int) -> Rankings:
    """A copy of the first ranks, so that the others can be forgotten."""
    return Rankings(rankings.ids[:, :count].clone(), rankings.scores[:, :count].clone())


def _blocks(queries: int, width: int, ranking_bytes: int) -> Iterator[slice]:
    step = max(1, ranking_bytes // (_CELL * width))
    for start in range(0, queries, step):
        yield slice(start, start + step)

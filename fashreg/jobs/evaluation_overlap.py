"""The question whose right answers come by degree: pictures that share attribute values with the one that asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.data.table import Table
from fashreg.errors import DataError
from fashreg.functional.metrics import average, judge
from fashreg.functional.relevance import counts
from fashreg.interfaces import Reranker
from fashreg.jobs.evaluation_question import Codes, Question, QuestionIndex, question_of
from fashreg.jobs.evaluation_ranking import Answer, first_ranks, ranked
from fashreg.jobs.evaluation_slices import codes_by_id
from fashreg.values import Rankings, Relevance

_PAIRS = 1 << 24  # pairs of a query and a picture that are graded at once


def overlap_answer(
    vectors: Tensor,
    table: Table,
    sources: Codes | None,
    evaluator: Any,
    rerankers: Sequence[Reranker] = (),
    *,
    first: int = 0,
) -> tuple[Question, Answer]:
    """Everybody asks, whatever the label, and the evaluator grades, some queries at a time.

    vectors: (N, D), one for each row of the table. first: how many ranks to keep of every query. The question that
    comes back says who asked and how many found nothing to find; its relevance is not the graded one.
    """
    if not table.attributes:
        raise DataError("attribute-overlap needs attribute columns: --set data.attributes=[COLUMN, ...]")
    question = question_of(vectors, table, np.zeros(len(table), dtype=np.int64), sources)
    index = QuestionIndex(question)
    alone, found, kept = 0, [], []
    for rows, relevance in _graded(question, table, evaluator):
        rankings = ranked(question, max(first, evaluator.depth(relevance)), rerankers, index, rows)
        found.append(evaluator.from_judged(judge(rankings, relevance), relevance))
        kept.append(first_ranks(rankings, first))
        alone += int((counts(relevance) == 0).sum())
    if alone == len(question.queries):
        raise DataError(f"{table.source}: no two pictures share an attribute value, so there is nothing to find")
    values = {name: torch.cat([block[name] for block in found]) for name in found[0]}
    ranks = Rankings(torch.cat([r.ids for r in kept]), torch.cat([r.scores for r in kept])) if first else None
    numbers = {name: average(column) for name, column in values.items()}
    return replace(question, alone=alone), Answer([numbers], [values], ranks)


def _graded(question: Question, table: Table, evaluator: Any) -> Iterator[tuple[slice, Relevance]]:
    """Some queries after another, with the grades of all that they could find."""
    ids = torch.from_numpy(table.ids)
    values = torch.stack([torch.from_numpy(attribute.codes) for attribute in table.attributes.values()], 1)
    queries, gallery = question.queries, question.gallery
    theirs = codes_by_id(ids, values, gallery.ids)
    step = max(1, _PAIRS // len(gallery))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        asked = queries.ids[rows]
        relevance = evaluator.relevance_from_attributes(
            codes_by_id(ids, values, asked),
            asked,
            theirs,
            gallery.ids,
            query_sources=None if queries.sources is None else queries.sources[rows],
            gallery_sources=gallery.sources,
        )
        yield rows, relevance

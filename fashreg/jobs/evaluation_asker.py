"""What it takes to ask a model about a table: the encoder, the rows, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.functional import metrics as m
from fashreg.functional.candidates import Trials
from fashreg.functional.judged import Judged
from fashreg.functional.pair_scores import score_pairs
from fashreg.jobs.evaluation_parts import Part
from fashreg.jobs.evaluation_question import Question, Side
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.evaluation_result import Neighbours, Sort
from fashreg.values import Rankings, Relevance

NEIGHBOURS = 10


@dataclass(frozen=True, slots=True)
class Asker:
    """An encoder and the rows it is asked about. task: as given, None for the only one that answers.

    beams: of captions. first: how many neighbours to keep, 0 for none.
    """

    encoder: Encoder
    table: Table
    task: str | None = None
    batch_size: int = 64
    progress: bool = False
    beams: int = 1
    first: int = NEIGHBOURS

    def texts(self) -> list[str]:
        """The texts of the rows, "" where one has none; DataError without a text column."""
        if self.table.texts is None:
            raise DataError(f"{self.table.source}: no texts; name their column, e.g. --set text=caption")
        return [text.strip() for text in self.table.texts]

    def pictures(self, rows: Any, task: str | None, texts: list[str] | None = None) -> Tensor:
        """Vectors (n, D) of the pictures of some rows, each with its text where texts are given."""
        part = self.table.take(rows, dense=False)
        return self.encoder.embed(
            part, texts=texts, task=task, batch_size=self.batch_size, progress=self.progress
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One question. rows: (Q,) ids of the rows that ask. asks, finds: what a query and an answer are."""

    question: Question
    rows: Tensor
    asks: Sort
    finds: Sort

    def part(self, evaluator: Any, first: int) -> tuple[Part, Neighbours]:
        """What everybody finds in the whole gallery."""
        found = answer(self.question, [evaluator], first=max(1, first))
        assert found.first is not None
        near = Neighbours(self.rows, found.first.ids, found.first.scores, None, self.asks, self.finds)
        return Part(found.numbers[0], self.rows, found.values[0] or {}), near

    def drawn(self, evaluator: Any, trials: Trials, first: int, repeats: int) -> tuple[Part, Neighbours]:
        """What those drawn find among their candidates. The neighbours are those of the first repeat."""
        if not len(trials):
            raise DataError("no query has a right answer to draw, so there is nothing to measure")
        rankings, relevance = self._ranked(trials)
        if hasattr(evaluator, "from_judged"):
            judged: Judged = m.judge(rankings, relevance)
            values = evaluator.from_judged(judged, relevance)
            numbers = {name: m.average(column) for name, column in values.items()}
        else:
            values, numbers = {}, evaluator(rankings, relevance)
        asked = self.rows[trials.queries]
        once = slice(0, len(trials) // repeats)
        kept = rankings.ids[once, : max(1, first)], rankings.scores[once, : max(1, first)]
        return Part(numbers, asked, values), Neighbours(asked[once], *kept, None, self.asks, self.finds)

    def _ranked(self, trials: Trials) -> tuple[Rankings, Relevance]:
        """Candidates by falling score, of equal ones the smaller id first; only the first of each row is right."""
        queries, gallery = self.question.queries, self.question.gallery
        here = trials.candidates >= 0
        ids = torch.where(here, gallery.ids[trials.candidates], -1)
        scores = score_pairs(queries.vectors[trials.queries], gallery.vectors, trials.candidates.clamp(min=0))
        scores = torch.where(here, scores, -torch.inf)
        order = torch.where(ids >= 0, ids, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        one = torch.arange(len(trials) + 1)
        relevance = Relevance(nobody(len(trials)), one[:-1], one, ids[:, 0].clone())
        return Rankings(ids.gather(1, order), scores.gather(1, order)), relevance


def nobody(count: int) -> Tensor:
    """Query ids of those that are in no gallery."""
    return torch.full((count,), -1, dtype=torch.int64)


def side(vectors: Tensor, labels: Any, ids: Tensor) -> Side:
    """Those who ask or answer. labels: numpy (n,)."""
    return Side(vectors, torch.from_numpy(labels), ids, None)

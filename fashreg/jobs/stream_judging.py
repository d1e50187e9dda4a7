"""One row of the accuracy matrix: what the encoder knows of every task so far, on pictures it did not learn from."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fashreg.assembly import build
from fashreg.config import Recipe
from fashreg.data.stream import stages_of
from fashreg.data.table import Attribute, Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.functional.metrics import random_average_precision
from fashreg.functional.relevance import counts
from fashreg.jobs.evaluation import Asking, Evaluation, evaluate_table, evaluate_vectors
from fashreg.jobs.evaluation_question import Codes, Question, question_of
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.parts import Parts
from fashreg.training.features import embed_table, embed_table_tasks


class Column(NamedTuple):
    """Whose queries are one column. queries: that have something to find. chance: MAP of a random ranking."""

    name: str
    attribute: str
    queries: int
    chance: float


@dataclass(frozen=True)
class Judge:
    """Measures rows. table: the pictures that are judged. columns: in order. stages: by value, the values of each."""

    table: Table
    recipe: Recipe
    columns: tuple[Column, ...]
    stages: tuple[tuple[str, ...], ...] = ()

    def row(self, encoder: Encoder, learnt: Sequence[str], coming: str | None) -> dict[str, tuple[float, float]]:
        """Column -> (MAP, recall@1), of what was learnt and of the one that comes next, by a head without training."""
        names = [name for name in self.names if name in learnt or name == coming]
        vectors = self._vectors(_with_head(encoder, coming), names)
        found = {}
        for column in self.columns:
            if column.name in names:
                seen = [name for name in names if name != coming or name == column.name]
                asked = self._asked(column.name, column.attribute, seen)
                found[column.name] = _numbers(self._of(vectors, column.name, seen), *asked)
        return found

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def final(self, encoder: Encoder) -> tuple[Table, Tensor | None]:
        """The table with what was learnt alone, and the vectors that answer where no single task does."""
        if not self.stages:
            return replace(self.table, attributes={name: self.table.attributes[name] for name in self.names}), None
        attribute = self.columns[0].attribute
        named = Attribute(self._asked(None, attribute, self.names)[1], self.table.attributes[attribute].names)
        vectors = self._of(self._vectors(encoder, self.names), "", self.names)
        return replace(self.table, attributes={attribute: named}), vectors

    def _asked(self, name: str | None, attribute: str, seen: Sequence[str]) -> tuple[Table, Codes]:
        """Table and codes of one question. By value: among the values seen so far, and only this stage asks."""
        codes, values = self.table.attributes[attribute]
        if not self.stages:
            return self.table, codes
        places = {value: place for place, value in enumerate(values)}
        stage_of = np.full(len(values) + 1, -1, dtype=np.int64)
        for stage, (column, part) in enumerate(zip(self.columns, self.stages, strict=True)):
            if column.name in seen:
                stage_of[[places[value] for value in part if value in places]] = stage
        stages = stage_of[codes]
        masked = np.where(stages >= 0, codes, -1)
        if name is None:
            return self.table, masked
        everyone = np.ones(len(self.table), dtype=np.bool_)
        flagged = self.table.query is not None and self.table.gallery is not None
        queries = self.table.query if flagged and self.table.query is not None else everyone
        gallery = self.table.gallery if flagged else everyone
        return replace(self.table, query=queries & (stages == self.names.index(name)), gallery=gallery), masked

    def _vectors(self, encoder: Encoder, names: Sequence[str]) -> dict[str, Tensor]:
        """Vectors of each task, from one pass of the trunk; one head for all: the same for each."""
        trainer, workers = self.recipe.trainer, self.recipe.data.workers
        if encoder.head.tasks:
            return embed_table_tasks(encoder, self.table, trainer, names, workers=workers)
        return dict.fromkeys(names, embed_table(encoder, self.table, trainer, workers=workers))

    def _of(self, vectors: dict[str, Tensor], name: str, seen: Sequence[str]) -> Tensor:
        """What answers a column: its task's vectors; by value, those of all tasks so far, joined."""
        if not self.stages:
            return vectors[name]
        if len({id(vectors[one]) for one in seen}) == 1:
            return vectors[seen[0]]
        return torch.cat([vectors[one] for one in seen], dim=1) / math.sqrt(len(seen))


def judge_of(recipe: Recipe, judged: Table, train: Table, names: Sequence[str], earlier: Sequence[str] = ()) -> Judge:
    """The judge of a stream. names: of the experiences. earlier: known before, judged if they can be.

    Raises DataError where a column would have no query that has something to find.
    """
    stream = recipe.stream
    assert stream is not None
    stages: tuple[tuple[str, ...], ...] = ()
    attributes = dict(zip([*earlier, *names], [*earlier, *names], strict=True))
    if stream.by == "value":
        stages = tuple(tuple(part) for part in stages_of(stream, train))
        attributes = dict.fromkeys(names, str(stream.attribute))
    empty = [Column(name, attribute, 0, 0.0) for name, attribute in attributes.items()]
    draft = Judge(judged, recipe, tuple(empty), stages)
    columns = []
    for place, column in enumerate(empty):
        question = _question(*draft._asked(column.name, column.attribute, draft.names[: place + 1]), judged.source)
        alone = question is None or question.alone == len(question.queries)
        if (question is None or alone) and column.name in earlier:
            continue
        if question is None or alone:
            raise DataError(
                f"{judged.source}: no query of {column.name!r} has another picture of its value to find, so what is "
                "learned could not be measured; leave it out (stream.order), or judge on more pictures",
                column=column.attribute,
            )
        columns.append(column._replace(queries=_asking(question), chance=_chance(question)))
    return replace(draft, columns=tuple(columns))


def final_evaluation(recipe: Recipe, parts: Parts, judge: Judge, split: str) -> Evaluation:
    """What the model knows at the end of what it learnt, by the recipe's evaluators over attributes."""
    table, vectors = judge.final(parts.encoder)
    evaluators = [e for e in parts.evaluators if hasattr(e, "combine")] or [build("evaluator", "attribute-retrieval")]
    asking = Asking(split=split, rerankers=parts.rerankers)
    if vectors is None:
        return evaluate_table(parts.encoder, table, evaluators, config=recipe.data, asking=asking)
    found = evaluate_vectors(vectors, table, evaluators, config=recipe.data, asking=asking)
    return replace(found, model={"fingerprint": parts.encoder.fingerprint()})


def _question(table: Table, codes: Codes, source: str) -> Question | None:
    """The question without vectors, None when nobody asks or answers."""
    known = codes >= 0
    for side in (table.query, table.gallery):
        if not (known if side is None else side & known).any():
            return None
    return question_of(torch.zeros(len(table), 1), table, codes)


def _asking(question: Question) -> int:
    return int((counts(question.relevance) > 0).sum())


def _chance(question: Question) -> float:
    """Mean over the queries of the average precision that a random ranking is expected to have."""
    own = torch.isin(question.queries.ids, question.gallery.ids).long()
    expected = random_average_precision(len(question.gallery) - own, counts(question.relevance))
    return float(expected.nanmean())


def _numbers(vectors: Tensor, table: Table, codes: Codes) -> tuple[float, float]:
    evaluator: Any = build("evaluator", "attribute-retrieval")
    numbers = answer(question_of(vectors, table, codes), [evaluator]).numbers[0]
    return numbers["map"], numbers["recall@1"]


def _with_head(encoder: Encoder, task: str | None) -> Encoder:
    """The encoder, with an untrained head for a task that it does not have yet. The given one stays as it is."""
    if task is None or not hasattr(encoder.head, "add_task") or task in encoder.head.tasks:
        return encoder
    head = copy.deepcopy(encoder.head)
    head.add_task(task)
    return Encoder(encoder.backbone, head, input_spec=encoder.input_spec)

"""What is asked of two models: pictures by pictures, or as the kind of a task is asked, with texts or both together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from fashreg.assembly import build
from fashreg.config_tasks import data_of
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.encoder.questions import kinds_of
from fashreg.errors import DataError, ModelError
from fashreg.jobs.evaluation_asker import Asker, Search
from fashreg.jobs.evaluation_composed import composed_search
from fashreg.jobs.evaluation_cross_modal import words_search
from fashreg.jobs.evaluation_kinds import evaluators_for
from fashreg.jobs.evaluation_question import Codes, Question, column_codes, question_of
from fashreg.jobs.opening import Trained, open_table
from fashreg.jobs.task_vectors import TaskVectors

Asked = tuple[Question, Tensor]  # and the row of each query, by its id


class Given(NamedTuple):
    """What a person gave to both models. label, source: columns; options: of the table."""

    table: Any
    split: str | None = None
    label: str | None = None
    source: str | None = None
    batch_size: int = 64
    options: Sequence[str] = ()
    progress: bool = True


class ByPictures:
    """Every picture asks for those that share its value of a column: the task's, else the labels.

    same: tasks whose vectors are equal in both models. seconds: that the new model has embedded so far.
    """

    def __init__(self, old: Encoder, new: Encoder, trained: Trained, same: Mapping[str | None, bool], given: Given):
        self.rows, _ = open_table(given.table, trained.data, split=given.split, options=given.options, need_label=False)
        self.label, self.seconds = given.label, 0.0
        self.sources = None if given.source is None else column_codes(self.rows, given.source, "--source")[0]
        how: dict[str, Any] = {"batch_size": given.batch_size, "progress": given.progress}
        self._old = TaskVectors(old, self.rows, [task for task, is_same in same.items() if not is_same], **how)
        self._new = TaskVectors(new, self.rows, list(same), **how)

    def table(self, task: str | None) -> Table:
        """The rows of a task."""
        return self.rows

    def old(self, task: str | None) -> Asked:
        """The question put to the old model alone."""
        return self._question(self._old(task), task)

    def new(self, task: str | None) -> Asked:
        """The question put to the new model alone."""
        start = time.perf_counter()
        vectors = self._new(task)
        self.seconds += time.perf_counter() - start
        return self._question(vectors, task)

    def _question(self, vectors: Tensor, task: str | None) -> Asked:
        asked = question_of(vectors, self.rows, _judged_by(self.rows, task, self.label), self.sources)
        if asked.alone == len(asked.queries):
            judge = self.label or task
            what = "label" if judge is None else f'"{judge}"'
            raise DataError(
                f"{self.rows.source}: no two pictures have the same {what}, so no query has anything to find"
            )
        return asked, asked.queries.ids


class ByKind:
    """Texts ask for pictures, and pictures with texts for pictures, as the kind of a task says."""

    seconds = 0.0  # of pictures alone, which these questions do not tell apart

    def __init__(self, old: Encoder, new: Encoder, trained: Trained, tasks: Sequence[str], given: Given):
        if given.source is not None:
            raise DataError("--source is for pictures that ask for pictures: leave it out, or say --pictures")
        self._encoders, self._trained, self._given = (old, new), trained, given
        self._tables: dict[str, Table] = {}
        self._searches = {task: self._search_of(task) for task in tasks}

    def table(self, task: str | None) -> Table:
        """The rows of a task, read as the model's were."""
        assert task is not None
        if task not in self._tables:
            given, data, own = self._given, self._trained.data, self._trained.tasks.get(task)
            options = given.options if given.label is None else [*given.options, f"label={given.label}"]
            read = data if own is None or data is None else data_of(data, own)
            self._tables[task], _ = open_table(given.table, read, split=given.split, options=options, need_label=False)
        return self._tables[task]

    def old(self, task: str | None) -> Asked:
        """The question put to the old model alone."""
        return self._asked(0, task)

    def new(self, task: str | None) -> Asked:
        """The question put to the new model alone."""
        return self._asked(1, task)

    def _asked(self, which: int, task: str | None) -> Asked:
        assert task is not None
        given = self._given
        asker = Asker(self._encoders[which], self.table(task), task, given.batch_size, given.progress, first=0)
        found = self._searches[task](asker)
        return found.question, found.rows

    def _search_of(self, task: str) -> Callable[[Asker], Search]:
        """How a task is asked; ModelError where the two models do not mean the same by it."""
        kinds = [kinds_of(encoder).get(task) for encoder in self._encoders]
        if kinds[0] != kinds[1]:
            told = " and ".join(kind or "none" for kind in kinds)
            raise ModelError(f"the task {task!r} is of another kind in each model ({told}): they cannot be compared")
        if kinds[1] == "cross-modal":
            return words_search
        if kinds[1] == "composed":
            spec = evaluators_for(self._encoders[1], task, self._trained.tasks, ())[0]
            excluded = bool(getattr(build("evaluator", spec), "exclude_reference", False))
            return lambda asker: composed_search(asker, exclude_reference=excluded)
        raise ModelError(
            f"the task {task!r} ({kinds[1]}) does not find pictures, so it has no gallery; judge its vectors by "
            "pictures: --pictures"
        )


def _judged_by(rows: Table, task: str | None, label: str | None) -> Codes:
    """(N,) what pictures have in common, -1 for those that do not count: a column, by default the task's or labels."""
    if label is not None:
        return column_codes(rows, label, "--label")[0]
    if task in rows.attributes:
        return rows.attributes[task].codes
    return rows.labels if task is None or task not in rows.frame.columns else column_codes(rows, task, "--task")[0]

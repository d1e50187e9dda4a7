"""The tables of a recipe: the rows of each split, and the experiences that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fashreg.config import Recipe
from fashreg.config_data import DataConfig
from fashreg.data.opening import open_source
from fashreg.data.splits import training_tables, usable
from fashreg.data.stream import experiences
from fashreg.data.table import Table, read_table
from fashreg.jobs.task_tables import TaskTables, read_task_tables
from fashreg.values import Experience


@dataclass(frozen=True)
class Tables:
    """The rows of each split; validation and test may be None. experiences: what is learned, one after the other.
    warnings: sentences for a person. tasks: those of a recipe with tasks, which are the parts of its one experience;
    the splits are then the first task's.
    """

    train: Table
    validation: Table | None
    test: Table | None
    experiences: tuple[Experience, ...]
    warnings: tuple[str, ...] = ()
    tasks: Mapping[str, TaskTables] = field(default_factory=dict)

    def judged(self, data: DataConfig) -> tuple[Table | None, str]:
        """What is measured at the end, and its split: the test, else validation."""
        return (self.test, data.test_split) if self.test is not None else (self.validation, data.validation_split)


def read_tables(recipe: Recipe, source: Any = None) -> Tables:
    """The splits of a recipe's table, read and validated whole. source: a DataFrame instead of `data.table`."""
    if recipe.tasks is not None:
        return _of_tasks(read_task_tables(recipe, source))
    data, stream = recipe.data, recipe.stream
    given = data.table if source is None else source
    labelled = stream is None
    train, validation, warnings = training_tables(data, source=given, seed=recipe.seed, labelled=labelled)
    test = None
    if open_source(given, data).has_split(data.test_split):
        found = read_table(given, data, split=data.test_split, need_label=labelled)
        test, more = usable(found, data, classes=int(labelled))
        warnings += more
    once = [Experience("train", train, validation)]
    several = once if stream is None else experiences(stream, train, validation)
    return Tables(train, validation, test, tuple(several), tuple(dict.fromkeys(warnings)))


def _of_tasks(tasks: Mapping[str, TaskTables]) -> Tables:
    first = next(iter(tasks.values()))
    everything = Experience("all", None, parts=tuple(task.experience for task in tasks.values()))
    warnings = tuple(text for task in tasks.values() for text in task.warnings)
    return Tables(first.train, first.validation, first.test, (everything,), warnings, tasks)

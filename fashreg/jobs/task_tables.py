"""The tables of a recipe's tasks: read, checked and divided, each task by its own data section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashreg.config import Recipe
from fashreg.config_data import DataConfig
from fashreg.config_tasks import data_of, kinds_of
from fashreg.data.classes import in_classes
from fashreg.data.columns import counted
from fashreg.data.opening import open_source, place_of
from fashreg.data.splits import hold_out, hold_out_rows, usable
from fashreg.data.table import Table, read_table
from fashreg.errors import DataError, RecipeError
from fashreg.values import Experience

CLASSIFICATION = "classification"

#: What a row must have to be learned from.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "cross-modal": ("text",),
    "composed": ("text", "target"),
    CLASSIFICATION: ("label",),
    "captioning": ("text",),
}
#: Fields of `data` that tasks mean differently; an error names the task's own.
_OWN = ("label", "text", "target")


@dataclass(frozen=True)
class TaskTables:
    """One task with its rows. data: how they were read. validation and test may be None. warnings: for a person."""

    name: str
    kind: str
    data: DataConfig
    train: Table
    validation: Table | None = None
    test: Table | None = None
    warnings: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[Table | None, str]:
        """What is measured at the end, and its split: the test, else validation."""
        data = self.data
        return (self.test, data.test_split) if self.test is not None else (self.validation, data.validation_split)

    @property
    def experience(self) -> Experience:
        """The task as a part of what is learned."""
        return Experience(self.name, self.train, self.validation, task=self.name, extra={"kind": self.kind})


def read_task_tables(recipe: Recipe, source: Any = None) -> dict[str, TaskTables]:
    """Task -> its tables. source: a DataFrame instead of the recipe's `data.table`; tasks with a table of their own
    keep it. Each file is looked at once, and equal tables are read once.
    """
    reading = _Reading(recipe, source)
    return {name: reading.task(name, kind) for name, kind in kinds_of(recipe.tasks).items()}


@dataclass
class _Reading:
    """Tables of one recipe. looked: files that were looked at. read: tables by what they were read from."""

    recipe: Recipe
    source: Any
    looked: dict[str, str | None] = field(default_factory=dict)
    read: dict[str, tuple[Table, tuple[str, ...]]] = field(default_factory=dict)

    def task(self, name: str, kind: str) -> TaskTables:
        """One task's tables; a DataError names the task, and its own fields of `data`."""
        try:
            return self._task(name, kind)
        except DataError as error:
            own, common = (self.recipe.tasks or {})[name].data.model_fields_set, self.recipe.data.model_fields_set
            error.args = (f"task {name!r}: {_own_fields(str(error), name, own, common)}",)
            raise

    def _task(self, name: str, kind: str) -> TaskTables:
        """Read, checked, divided, and the classes of a task that classifies made equal in all splits."""
        own, recipe = (self.recipe.tasks or {})[name], self.recipe
        data = data_of(recipe.data, own)
        data = data if "table" not in own.data.model_fields_set else beside(data, recipe.data, self.source)
        given = data.table if self.source is None or "table" in own.data.model_fields_set else self.source
        _check_columns(name, kind, data)
        whole, told = self._split(given, data, data.train_split, kind)
        train, left = _learnable(whole, name, kind, data)
        held: Table | None = None
        splits = open_source(given, data)
        if splits.has_split(data.validation_split):
            held, more = self._split(given, data, data.validation_split, kind)
            told += more
        elif data.holdout:
            rows = kind == CLASSIFICATION or not train.has_labels
            train, held = (hold_out_rows if rows else hold_out)(train, data.holdout, recipe.seed)
        test = None
        if splits.has_split(data.test_split):
            test, more = self._split(given, data, data.test_split, kind)
            told += more
        told += left
        if kind == CLASSIFICATION:
            held, more = _same_classes(held, train)
            test, others = _same_classes(test, train)
            told += more + others
        warnings = tuple(f"task {name}: {text}" for text in dict.fromkeys(told))
        return TaskTables(name, kind, data, train, held, test, warnings)

    def _split(self, given: Any, data: DataConfig, split: str, kind: str) -> tuple[Table, tuple[str, ...]]:
        classes = 2 if kind == CLASSIFICATION and split == data.train_split else 0
        said = data.model_dump_json(exclude={"augment", "decoded", "workers", "holdout"})
        key = f"{split} {classes} {said if isinstance(given, str) else id(given)}"
        if key not in self.read:
            table = read_table(given, data, split=split, need_label=False)
            if classes and not table.num_classes:
                read_table(given, data, split=split)  # says why: no such column, or nothing in it
            self.read[key] = usable(table, data, classes=classes, pairs=False, looked=self.looked)
        return self.read[key]


def beside(data: DataConfig, main: DataConfig, source: Any = None) -> DataConfig:
    """A task's data section whose relative table lies beside the recipe's own table, where it does."""
    if source is not None or not main.table or Path(data.table).is_absolute() or ":" in data.table:
        return data
    kind, colon, numbers = main.table.partition(":")
    if (kind, data.table) == ("atelier", "edits.csv"):  # the same file by a name that holds on every machine
        return data.model_copy(update={"table": f"atelier-edits{colon}{numbers}"})
    near = place_of(main.table).parent / data.table
    return data.model_copy(update={"table": str(near)}) if near.is_file() else data


def _own_fields(said: str, name: str, own: set[str], common: set[str]) -> str:
    """A message about `data.FIELD=` as one about the task's own, where that is the one to set.

    own, common: fields that the task, and the recipe's section `data`, were given.
    """

    def named(found: re.Match[str]) -> str:
        mine = found[1] in own or (found[1] in _OWN and found[1] not in common)
        return f"tasks.{name}.{found[0]}" if mine else found[0]

    return re.sub(r"(?<![\w.])data\.(\w+)(?==)", named, said)


def _check_columns(name: str, kind: str, data: DataConfig) -> None:
    """RecipeError where the kind of task needs a column that nobody named."""
    for column in NEEDS[kind]:
        if getattr(data, column) is None:
            what = {"text": "texts", "label": "classes", "target": "the picture that each picture and its text ask for"}
            raise RecipeError(
                f"task {name!r} ({kind}) needs {what[column]}: --set tasks.{name}.data.{column}=COLUMN",
                field=f"tasks.{name}.data.{column}",
            )


def _learnable(table: Table, name: str, kind: str, data: DataConfig) -> tuple[Table, tuple[str, ...]]:
    """The rows that have what the task learns from, and what to tell of the others."""
    kept: NDArray[np.bool_] = np.ones(len(table), dtype=np.bool_)
    told = []
    labels = table.labels >= 0
    for column, cells in (("text", table.texts), ("target", table.targets), ("label", labels)):
        if column not in NEEDS[kind] or cells is None:
            continue
        filled = np.array([bool(cell) for cell in cells], dtype=np.bool_)
        missing = ~filled if table.query is None else ~filled & np.asarray(table.query)  # a gallery's rows ask nothing
        if missing.any():
            told.append(
                f"{int(missing.sum()):,} of {len(table):,} training rows have no {column} (column "
                f'"{getattr(data, column)}") and are not learned from'
            )
        kept &= filled
    if not kept.any():
        raise DataError(f"{table.source}: a task of kind {kind} has nothing to learn from: {'; '.join(told)}")
    return (table if kept.all() else table.take(kept)), tuple(told)


def _same_classes(table: Table | None, train: Table) -> tuple[Table | None, tuple[str, ...]]:
    """A table to measure on, with the classes of the training rows; others are left out, and told."""
    if table is None:
        return None, ()
    known, strange = in_classes(table, train.label_names)
    without = int((table.labels < 0).sum())
    others = len(table) - len(known) - without
    told = []
    if strange:
        names = ", ".join(f'"{name}"' for name in strange[:3]) + (", ..." if len(strange) > 3 else "")
        told.append(f"{counted(others, 'row')} of classes that training lacks, left out: {names}")
    if without:
        told.append(f"{counted(without, 'row')} without a class, left out")
    return (known if len(known) else None), tuple(f"{table.source}: {text}" for text in told)

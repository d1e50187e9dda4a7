"""The tables that training works with: training rows, and what they are validated on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fashreg.config_data import DataConfig
from fashreg.data.opening import open_source
from fashreg.data.table import Table, check_table, read_table
from fashreg.errors import DataError


class TrainingTables(NamedTuple):
    """validation: None when the table has no such split and nothing is held out. warnings: sentences for a person."""

    train: Table
    validation: Table | None
    warnings: tuple[str, ...]


def training_tables(
    config: DataConfig | Mapping[str, Any],
    *,
    source: str | Path | pd.DataFrame | None = None,
    seed: int = 0,
    pictures: bool = True,
    labelled: bool = True,
) -> TrainingTables:
    """Reads, checks and divides the data of a recipe.

    source: instead of config.table. seed: chooses the classes that are held out. pictures: look into every file.
    labelled: False when labels do not matter, because attributes are learned; rows may then be without.
    Raises DataError when anything is wrong; with on_bad_image "skip" missing and damaged pictures are left out.
    """
    chosen = config if isinstance(config, DataConfig) else DataConfig.model_validate(dict(config))
    given = chosen.table if source is None else source

    def read(split: str) -> tuple[Table, tuple[str, ...]]:
        table = read_table(given, chosen, split=split, need_label=labelled or chosen.holdout > 0.0)
        return usable(table, chosen, pictures=pictures, classes=2 if labelled else 0)

    train, warnings = read(chosen.train_split)
    if open_source(given, chosen).has_split(chosen.validation_split):
        validation, more = read(chosen.validation_split)
        return TrainingTables(train, validation, (*warnings, *more))
    if not chosen.holdout:
        return TrainingTables(train, None, warnings)
    return TrainingTables(*hold_out(train, chosen.holdout, seed), warnings)


def usable(
    table: Table,
    config: DataConfig,
    *,
    pictures: bool = True,
    classes: int = 1,
    pairs: bool = True,
    looked: dict[str, str | None] | None = None,
) -> tuple[Table, tuple[str, ...]]:
    """A checked table without the rows that config.on_bad_image says to skip, and what to tell a person.

    pairs, looked: as `check_table` takes them.
    """
    how: dict[str, Any] = {"on_bad_image": config.on_bad_image, "classes": classes, "pairs": pairs, "looked": looked}
    report = check_table(table, pictures, **how)
    told = tuple(f"{table.source}: {text}" for text in report.warnings)
    return (table.take(~report.bad) if report.bad.any() else table), told


def hold_out(table: Table, share: float, seed: int) -> tuple[Table, Table]:
    """Divides a table by whole classes: the rest, and `share` of the classes with two or more pictures.

    Classes with a single picture stay in training, where a validation could not use them. At least two classes are
    held out. The choice depends on the names of the classes and the seed, not on the order of the rows.
    """
    counts = np.bincount(table.labels[table.labels >= 0], minlength=table.num_classes)
    able = np.flatnonzero(counts >= 2)
    wanted = max(2, round(share * len(able)))
    if len(able) < wanted or table.num_classes - wanted < 2:
        raise DataError(
            f"{table.source} has {table.num_classes} classes, {len(able)} with two or more pictures: too few to hold "
            f"{wanted} out and train on two. Set data.holdout=0, or add a validation split"
        )
    held = np.random.Generator(np.random.PCG64(seed)).permutation(able)[:wanted]
    mask = np.isin(table.labels, held)
    return table.take(~mask), table.take(mask)


def hold_out_rows(table: Table, share: float, seed: int) -> tuple[Table, Table]:
    """Divides a table row by row: the rest, and `share` of the rows of every class, of which one or more stay.

    For tasks whose classes must be known in training, and for tables without labels (all rows are one class then).
    Pictures of one product may fall on both sides; a split column keeps them together. The choice depends on the
    pictures' names and the seed, not on the order of the rows. Codes of classes stay as they are in training.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    names = np.array([f"{image} {text}" for image, text in zip(table.images, table.texts or table.images, strict=True)])
    held = np.zeros(len(table), dtype=np.bool_)
    for code in np.unique(table.labels):
        rows = np.flatnonzero(table.labels == code)
        rows = rows[np.argsort(names[rows], kind="stable")]
        count = min(round(share * len(rows)), len(rows) - 1)
        held[random.permutation(rows)[:count]] = True
    if not held.any():
        raise DataError(
            f"{table.source} has too few rows to hold {share:g} of every class out: add a validation split, or set "
            "data.holdout=0"
        )
    return table.take(~held), table.take(held)

"""The columns of a table and what they mean; every problem is collected, none raised half-way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashreg.config_data import DataConfig
from fashreg.data.columns import (
    Problems,
    codes_of,
    exact_text,
    examples,
    flags,
    floats_among,
    missing_column,
    whole_numbers,
)
from fashreg.data.official import Official
from fashreg.data.split_names import meant, synonyms

Rows = NDArray[np.int64]
_BOXES = ("x_1", "y_1", "x_2", "y_2")


@dataclass(slots=True)
class TableSource:
    """The whole table as it was given, before rows are chosen. `rows` below are row numbers, header excluded."""

    frame: pd.DataFrame
    name: str
    root: Path
    config: DataConfig
    problems: Problems
    official: Official | None = None

    @property
    def protocol_name(self) -> str | None:
        """The benchmark's protocol, where searching pictures by pictures follows it."""
        return None if self.official is None or self.official.cross_modal else self.official.protocol

    def _has(self, column: str | None) -> bool:
        return column is not None and column in self.frame.columns

    def _cells(self, column: str, rows: Rows | None = None) -> list[str]:
        series = self.frame[column]
        return exact_text(series if rows is None else series.iloc[rows])

    def _missing(self, column: str, setting: str) -> None:
        self.problems.add(missing_column(column, [str(name) for name in self.frame.columns], setting), column=column)

    def rows_of(self, split: str | None) -> Rows:
        """Rows of one split; all rows when split is None, or when it is the training split and no column says.

        A name that ends in * stands for all splits that begin so.
        """
        column, config = self.config.split, self.config
        everything = np.arange(len(self.frame), dtype=np.int64)
        if not len(self.frame):
            self.problems.add("it has no rows")
            return everything
        if split is None:
            return everything
        if column is None or not self._has(column):
            if column not in (None, "split"):
                self._missing(str(column), "split")
            elif split != config.train_split:
                self.problems.add(
                    f'split "{split}" was asked for, but there is no split column; name it: data.split=NAME'
                )
            return everything
        values = self._cells(column)
        wanted = meant(split, set(values), config)
        rows = np.array([i for i, value in enumerate(values) if value in wanted], dtype=np.int64)
        if not len(rows):
            known = ", ".join(f'"{value}"' for value in sorted(set(values))[:10])
            self.problems.add(f'split "{split}" is empty; column "{column}" has {known}', column=column)
        return rows

    def has_split(self, split: str) -> bool:
        """Whether any row belongs to this split."""
        if not self._has(self.config.split):
            return False
        return not {split, *synonyms(split, self.config)}.isdisjoint(self._cells(str(self.config.split)))

    def splits(self, rows: Rows) -> list[str] | None:
        """The split column of these rows, as written."""
        return self._cells(str(self.config.split), rows) if self._has(self.config.split) else None

    def labels(self, rows: Rows, need: bool) -> list[str]:
        """Label cells: whole numbers or text, digit for digit."""
        column = self.config.label
        if column is None or not self._has(column):
            if need and column is None:
                self.problems.add("labels are needed; name their column: data.label=NAME")
            elif column is not None and (need or column != "label"):
                self._missing(column, "label")
            return [""] * len(rows)
        cells = self._cells(column, rows)
        floats = floats_among(cells)
        empty = [i for i, cell in enumerate(cells) if not cell]
        if floats:
            self.problems.add(
                f'column "{column}" holds floats, which name no class exactly, in '
                f"{examples(rows[floats], [cells[i] for i in floats])}. Write whole numbers or text; in pandas: "
                f'frame["{column}"] = frame["{column}"].astype("Int64")',
                rows[floats],
                column,
            )
        if empty and need:
            self.problems.add(
                f'column "{column}" is empty in {examples(rows[empty])}. Fill the labels or leave these rows out',
                rows[empty],
                column,
            )
        return cells

    def pictures(self, rows: Rows) -> tuple[list[str], list[str]]:
        """Picture paths as written, and absolute."""
        column = self.config.image
        if not self._has(column):
            if column == "image" and self._has("path"):
                column = "path"
            else:
                self._missing(column, "image")
                return [""] * len(rows), [""] * len(rows)
        images = self._cells(column, rows)
        empty = [i for i, image in enumerate(images) if not image]
        if empty:
            self.problems.add(f'column "{column}" is empty in {examples(rows[empty])}', rows[empty], column)
        root = str(self.root.absolute())
        return images, [str(Path(root, image)) for image in images]

    def targets(self, rows: Rows) -> tuple[list[str], list[str]] | None:
        """Paths of the target pictures as written, and absolute, "" where there is none; None without the column."""
        column = self.config.target
        if column is None or not self._has(column):
            if column is not None:
                self._missing(column, "target")
            return None
        written, root = self._cells(column, rows), self.root.absolute()
        return written, [str(root / picture) if picture else "" for picture in written]

    def boxes(self, rows: Rows) -> NDArray[np.int64] | None:
        """Left, top, right, bottom of every row, or None. Boxes without any area are problems."""
        columns = self.config.boxes or _BOXES
        absent = [column for column in columns if not self._has(column)]
        if absent:
            for column in absent if self.config.boxes not in (None, _BOXES) else ():
                self._missing(column, "boxes")
            return None
        values, bad = np.zeros((len(rows), 4), dtype=np.int64), set()
        for i, column in enumerate(columns):
            cells = [cell.removesuffix(".0") for cell in self._cells(column, rows)]
            values[:, i], wrong = whole_numbers(cells)
            bad.update(wrong)
        flat = (values[:, 2] <= values[:, 0]) | (values[:, 3] <= values[:, 1]) | (values[:, :2] < 0).any(1)
        wrong = sorted(bad | set(np.flatnonzero(flat).tolist()))
        if wrong:
            self.problems.add(
                f"boxes must be whole pixels with 0 <= left < right and 0 <= top < bottom; not so in "
                f"{examples(rows[wrong])}. Columns: {', '.join(columns)}",
                rows[wrong],
                columns[0],
            )
        return values

    def refuse_duplicates(self, rows: Rows, images: Sequence[str], boxes: NDArray[np.int64] | None) -> None:
        """The same picture (and box) twice would be its own neighbour; fine where a row is a question (targets)."""
        if self.config.target is not None or (self.official is not None and self.official.repeats):
            return
        first: dict[Any, int] = {}
        again = []
        for i, image in enumerate(images):
            key = image if boxes is None else (image, *boxes[i].tolist())
            if image and first.setdefault(key, i) != i:
                again.append(i)
        if again:
            self.problems.add(
                f"the same picture occurs more than once: {examples(rows[again], [images[i] for i in again])}. "
                "Keep one row per picture",
                rows[again],
                self.config.image,
            )

    def ids(self, rows: Rows) -> NDArray[np.int64]:
        """The id column, or the row numbers."""
        column = self.config.id
        if column is None:
            return rows
        if not self._has(column):
            self._missing(column, "id")
            return rows
        cells = self._cells(column)
        values, bad = whole_numbers(cells)
        bad = sorted({*bad, *np.flatnonzero(values < 0).tolist()})
        counted = pd.Series(values).duplicated().to_numpy() if not bad else np.zeros(0, dtype=np.bool_)
        wrong = np.array(bad, dtype=np.int64) if bad else np.flatnonzero(counted)
        if len(wrong):
            what = "needs whole numbers >= 0" if bad else "repeats a number"
            self.problems.add(
                f'column "{column}" {what} in {examples(wrong, [cells[i] for i in wrong])}. Leave data.id unset to '
                "use row numbers; the column stays in the table",
                wrong,
                column,
            )
        return values[rows]

    def attributes(self, rows: Rows) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
        """Codes and value names per attribute; codes are the same in every split."""
        found = {}
        for column in self.config.attributes:
            if self._has(column):
                codes, names = codes_of(self._cells(column))
                found[column] = (codes[rows], names)
            else:
                self._missing(column, "attributes")
        return found

    def texts(self, rows: Rows) -> list[str] | None:
        """The text column, or None."""
        column = self.config.text
        if column is not None and not self._has(column):
            self._missing(column, "text")
        return self._cells(column, rows) if column is not None and self._has(column) else None

    def flags(self, setting: str, rows: Rows) -> NDArray[np.bool_] | None:
        """A true/false column: the one that the setting names, else the one called like the setting, else None."""
        column = getattr(self.config, setting) or setting
        if not self._has(column):
            if column != setting:
                self._missing(column, setting)
            return None
        cells = self._cells(column, rows)
        values, bad = flags(cells)
        if bad:
            shown = examples(rows[bad], [cells[i] for i in bad])
            self.problems.add(f'column "{column}" takes true or false; it says else in {shown}', rows[bad], column)
        return values

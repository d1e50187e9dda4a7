"""Reading one column exactly: text stays text, whole numbers of any size stay whole, nothing passes through float."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashreg.errors import DataError

_EMPTY = {"", "nan", "NaN", "<NA>", "NaT"}
_TRUE, _FALSE = {"true", "1", "yes", "t", "y"}, {"false", "0", "no", "f", "n", ""}


@dataclass(slots=True)
class Problems:
    """What is wrong with a table, collected whole before anybody is told."""

    source: str
    found: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    column: str = ""

    def add(self, message: str, rows: Iterable[int] = (), column: str = "") -> None:
        """One kind of problem, and the rows (of the table as given) that show it."""
        self.found.append(message)
        self.rows.extend(int(row) for row in rows)
        self.column = self.column or column

    def raise_if_any(self) -> None:
        """One DataError for everything found."""
        if self.found:
            lines = "\n".join(f"- {line}" for line in self.found)
            raise DataError(f"{self.source} cannot be used:\n{lines}", rows=tuple(self.rows[:20]), column=self.column)


def counted(count: int, what: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def examples(rows: Sequence[int] | NDArray[np.int64], values: Sequence[Any] | None = None, most: int = 5) -> str:
    """`3 rows: 4 ("a.jpg"), 7 ("b.jpg"), 9 ("c.jpg")`; rows count from 0, the header excluded."""
    shown = [str(int(r)) if values is None else f'{int(r)} ("{v}")' for r, v in zip(rows, values or rows, strict=False)]
    return f"{counted(len(rows), 'row')}: {', '.join(shown[:most])}{', ...' if len(rows) > most else ''}"


def missing_column(column: str, columns: Sequence[str], setting: str) -> str:
    """Says that a column is not there, what is near it, and how another one is chosen."""
    near = difflib.get_close_matches(column, columns, n=1, cutoff=0.6)
    if not near:
        near = [name for name in columns if name.lower() == column.lower()]
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f'no column "{column}"{hint} columns: {", ".join(columns)}. Choose one with data.{setting}=NAME'


def exact_text(series: pd.Series[Any]) -> list[str]:
    """Cells as text: whole numbers digit for digit, missing cells as "". Float cells keep their point ("3.0")."""
    return ["" if _missing(cell) else str(cell).strip() for cell in series.to_numpy(dtype=object)]


def _missing(cell: Any) -> bool:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    if isinstance(cell, float | np.floating):
        return math.isnan(cell)
    return isinstance(cell, str) and cell.strip() in _EMPTY


def floats_among(cells: Sequence[str]) -> list[int]:
    """Positions of the cells written as floats, if every cell of the column is a number; else none."""
    filled = [cell for cell in cells if cell]
    if not filled or not all(_number(cell) for cell in filled):
        return []
    return [i for i, cell in enumerate(cells) if cell and not _whole(cell)]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _whole(cell: str) -> bool:
    digits = cell[1:] if cell[:1] in "+-" else cell
    return digits.isascii() and digits.isdigit()


def codes_of(cells: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Dense codes 0..C-1 and the C names; "" becomes -1. Whole numbers sort by value, other names by text."""
    distinct = {cell for cell in cells if cell}
    names = sorted(distinct, key=lambda c: (int(c), c)) if all(map(_whole, distinct)) else sorted(distinct)
    code = {name: i for i, name in enumerate(names)} | {"": -1}
    return np.fromiter((code[cell] for cell in cells), dtype=np.int64, count=len(cells)), names


def whole_numbers(cells: Sequence[str]) -> tuple[NDArray[np.int64], list[int]]:
    """Cells as int64, and the positions that are not whole numbers of that size (0 there)."""
    values = np.zeros(len(cells), dtype=np.int64)
    bad = []
    for i, cell in enumerate(cells):
        value = int(cell) if _whole(cell) else None
        if value is None or not -(2**63) <= value < 2**63:
            bad.append(i)
        else:
            values[i] = value
    return values, bad


def flags(cells: Sequence[str]) -> tuple[NDArray[np.bool_], list[int]]:
    """Cells as true or false (empty = false), and the positions that say neither."""
    lower = [cell.lower().removesuffix(".0") for cell in cells]
    bad = [i for i, cell in enumerate(lower) if cell not in _TRUE and cell not in _FALSE]
    return np.array([cell in _TRUE for cell in lower], dtype=np.bool_), bad

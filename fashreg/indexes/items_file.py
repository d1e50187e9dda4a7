"""What each row of an index is, as a file of one JSON object a line, kept exactly."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.strict_json import parse_json

if TYPE_CHECKING:
    from pandas import DataFrame

_THIN, _FEW_CELLS = 20, 100_000  # cells of the table for each value given; a table of so few is always made


def item_lines(items: DataFrame | Sequence[Mapping[str, Any]], ids: Tensor) -> list[str]:
    """One line a row, with its `id`. items: with a column `id`, or in the order of `ids`."""
    rows = items.to_dict("records") if hasattr(items, "to_dict") else [dict(row) for row in items]
    if len(rows) != len(ids):
        raise ValueError(f"{len(ids)} vectors need as many items, got {len(rows)}")
    if rows and "id" not in rows[0]:
        rows = [{"id": i, **row} for i, row in zip(ids.tolist(), rows, strict=True)]
    if sorted(int(row["id"]) for row in rows) != sorted(ids.tolist()):
        raise ValueError("the ids of the items are not the ids of the vectors")
    plain = [{str(key): _plain(key, value) for key, value in row.items()} for row in rows]
    return [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in plain]


def _plain(column: Any, value: Any) -> Any:
    """A table's cell as JSON: numpy scalars as Python's, empty cells as null, paths and dates as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, Path | datetime.date):
        return str(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"items column {column!r} holds a {type(value).__name__}, which cannot be saved as JSON")


def read_item_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of such lines, each with a whole number as `id`; ModelError naming the file otherwise."""
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                rows.append(parse_json(line))
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path}: line {number} cannot be read: {error}") from error
    if not all(isinstance(row, dict) and type(row.get("id")) is int for row in rows):
        raise ModelError(f"{path}: every line must be an object with a whole number as `id`")
    return rows


def read_items(path: Path, ids: Tensor) -> DataFrame:
    """The rows of such a file, if they are those of these ids; ModelError naming the file otherwise."""
    import pandas as pd

    rows = read_item_lines(path)
    _check_cells(path, rows)
    if sorted(row["id"] for row in rows) != sorted(ids.tolist()):
        raise ModelError(f"{path}: its ids are not those of the vectors")
    table = pd.DataFrame(rows, columns=None if rows else ["id"], dtype=object)
    for name, column in table.items():
        if not column.isna().any() or all(isinstance(value, float) for value in column.dropna()):
            table[name] = column.infer_objects()  # elsewhere pandas would turn whole numbers beside gaps into floats
    return table


def _check_cells(path: Path, rows: list[dict[str, Any]]) -> None:
    """Cells hold text, numbers, truth values or nothing, and the table is not far larger than what was written."""
    given = 0
    columns: set[str] = set()
    for number, row in enumerate(rows, start=1):
        given += len(row)
        columns.update(row)
        for name, cell in row.items():
            if not (cell is None or isinstance(cell, str | int | float)):
                raise ModelError(f"{path}: line {number} holds a {type(cell).__name__} as {name!r}, not one value")
    if (cells := len(columns) * len(rows)) > max(_FEW_CELLS, _THIN * given):
        raise ModelError(f"{path}: {len(columns):,} columns and {cells:,} cells for {given:,} values: it is damaged")

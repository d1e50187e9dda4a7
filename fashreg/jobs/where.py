"""Filters by what an index knows of its pictures: `category=dress`, `colour=red,blue`, `price<50`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fashreg.component import nearest
from fashreg.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

Where = str | Sequence[str] | Mapping[str, Any]
_FORM = re.compile(r"\s*(?P<column>[^=<>!]+?)\s*(?P<sign><=|>=|!=|<|>|=)(?P<value>.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One column and what it must be. sign: =, !=, <, <=, >, >=. values: any of them (= and !=: none of them)."""

    column: str
    sign: str
    values: tuple[Any, ...]

    def holds(self, cell: Any) -> bool:
        """Whether a picture with this cell passes. An empty cell passes `column=` and `!=` only."""
        if self.sign in _COMPARE:
            number = _number(cell)
            return number is not None and _COMPARE[self.sign](number, float(self.values[0]))
        return any(_same(cell, value) for value in self.values) == (self.sign == "=")

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{','.join(map(str, self.values))}"


def parse_where(where: Where | None) -> list[Condition]:
    """Conditions that must all hold.

    where: one or several texts "column=value", "column=one,other" (any of them), "column!=value", "column<5"; or a
    mapping column -> value or list of values, for values with commas. DataError for any other form.
    """
    if where is None:
        return []
    if isinstance(where, Mapping):
        return [Condition(str(column), "=", _several(value)) for column, value in where.items()]
    return [_condition(text) for text in ([where] if isinstance(where, str) else where)]


def ids_where(items: DataFrame, where: Where | None) -> Tensor | None:
    """(n,) ids of the pictures for which all conditions hold, ascending; None without conditions.

    DataError for a column that the items lack, and for conditions that no picture meets.
    """
    conditions = parse_where(where)
    if not conditions:
        return None
    chosen = [True] * len(items)
    for condition in conditions:
        column = _column(items, condition)
        kept = {cell: condition.holds(cell) for cell in set(column)}
        left = [was and kept[cell] for was, cell in zip(chosen, column, strict=True)]
        if not any(left):
            raise DataError(_nothing(condition, conditions, column), column=condition.column)
        chosen = left
    return torch.tensor([int(i) for i, keep in zip(items["id"], chosen, strict=True) if keep]).sort().values


def _condition(text: str) -> Condition:
    found = _FORM.fullmatch(text)
    if found is None:
        raise DataError(
            f"--where {text!r} is not of the form column=value, column=one,other, column!=value or column<5"
        )
    sign, values = found["sign"], tuple(part.strip() for part in found["value"].split(","))
    if sign in _COMPARE and (len(values) != 1 or _number(values[0]) is None):
        raise DataError(f"--where {text!r} compares with {found['value'].strip()!r}, which is not a number")
    return Condition(found["column"], sign, values)


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | set) else (value,)


def _column(items: DataFrame, condition: Condition) -> list[Any]:
    if condition.column not in items.columns:
        known = [str(name) for name in items.columns]
        near = nearest(condition.column, known)
        hint = f'; did you mean "{near[0]}"?' if near else "."
        raise DataError(
            f'the index knows no column "{condition.column}"{hint} It knows {", ".join(known)}; '
            "others are kept by: fashreg index build ... --keep COLUMN",
            column=condition.column,
        )
    return [None if _empty(cell) else cell for cell in items[condition.column].tolist()]


def _nothing(condition: Condition, conditions: Sequence[Condition], column: Sequence[Any]) -> str:
    present = sorted({_text(cell) for cell in column})
    shown = ", ".join(present[:12]) + (f" and {len(present) - 12} more" if len(present) > 12 else "")
    together = (
        f" together with {', '.join(str(c) for c in conditions if c != condition)}" if len(conditions) > 1 else ""
    )
    return f"no picture of the index has {condition}{together}; {condition.column} is one of: {shown}"


def _empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _same(cell: Any, value: Any) -> bool:
    """Equal as text, digit for digit; a number cell also as a number (50 is 50.0), true and false in any case."""
    if _text(cell) == _text(value):
        return True
    if isinstance(cell, bool):
        return str(cell).lower() == str(value).lower()
    if isinstance(cell, float) or isinstance(value, float):
        number, wanted = _number(cell), _number(value)
        return number is not None and number == wanted
    return False


def _number(cell: Any) -> float | None:
    """The cell as a number, if it is one or is written as one."""
    if isinstance(cell, bool) or cell is None:
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

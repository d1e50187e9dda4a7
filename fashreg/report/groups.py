"""Tables of means: by class, by the values of each attribute, by slice, and by attribute as a whole. Worst first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fashreg.jobs.evaluation_result import Evaluation, Item, PerQuery

MOST_METRICS, IN_A_CARD, MOST_ROWS, SHOWN = 4, 3, 200, 12
_SINGLE = re.compile(r"^(?P<metric>.+)\[(?P<attribute>.+)\]$")
_INSIDE = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One group: its name, how many queries it has, and its mean of each metric of the table (None: none counts)."""

    name: str
    support: int
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Groups, worst first by the first metric. column: what a row is. left_out: rows beyond the longest table shown."""

    title: str
    column: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0

    @property
    def first(self) -> tuple[Row, ...]:
        """The rows that are open to see."""
        return self.rows[:SHOWN]

    @property
    def rest(self) -> tuple[Row, ...]:
        """The rows behind a fold."""
        return self.rows[SHOWN:]


def fractions(evaluation: Evaluation) -> list[str]:
    """Metrics that lie in 0..1 for every query, the primary one first. (A joined metric of attributes may not.)"""
    queries = evaluation.per_query
    columns = {} if queries is None else queries.values
    inside = []
    for name in dict.fromkeys([*(n for n in evaluation.metrics if n in columns), *columns]):
        column = columns[name]
        known = column[~column.isnan()]
        if len(known) and float(known.min()) >= -_INSIDE and float(known.max()) <= 1.0 + _INSIDE:
            inside.append(name)
    return sorted(inside, key=lambda name: name != evaluation.primary)


def plain(name: str) -> bool:
    """Whether a metric is neither of one attribute nor another way (`map/weighted`) to join them."""
    return "/" not in name and not _SINGLE.match(name)


def class_table(evaluation: Evaluation, items: Mapping[int, Item]) -> GroupTable | None:
    """By the label of the query; None where no query has one, or each has one of its own."""
    queries = evaluation.per_query
    if queries is None:
        return None
    names = [_text(items.get(i, {}).get("label")) for i in queries.ids.tolist()]
    metrics = [name for name in fractions(evaluation) if plain(name) or name == evaluation.primary]
    if len({*names} - {None}) > 1 and len({*names}) == len(names):
        return None  # ids, say: a row for each query says nothing that the queries do not
    return _table("Classes", "class", names, queries, metrics[:MOST_METRICS])


def attribute_tables(evaluation: Evaluation, items: Mapping[int, Item]) -> list[GroupTable]:
    """By the values of each attribute of the query, as rows of that attribute's own metrics where it has some."""
    queries = evaluation.per_query
    if queries is None:
        return []
    usable = fractions(evaluation)
    columns = [items.get(i, {}).get("attributes") or {} for i in queries.ids.tolist()]
    tables = []
    for attribute in dict.fromkeys(name for column in columns for name in column):
        own = [name for name in usable if (m := _SINGLE.match(name)) and m["attribute"] == attribute]
        metrics = (own or [name for name in usable if plain(name)])[:IN_A_CARD]
        table = _table(attribute, "value", [_text(column.get(attribute)) for column in columns], queries, metrics)
        if table is not None:
            short = tuple(name.removesuffix(f"[{attribute}]") for name in table.metrics)
            tables.append(replace(table, metrics=short))
    return tables


def slice_tables(evaluation: Evaluation, known: Sequence[str]) -> list[GroupTable]:
    """The slices that were asked for at evaluation, those of `known` columns left out."""
    tables = []
    for column, values in evaluation.slices.items():
        if column in known:
            continue
        names = list(dict.fromkeys(n for found in values.values() for n in found if n != "support"))
        names.sort(key=lambda name: name != evaluation.primary)
        chosen = tuple(names[:IN_A_CARD])
        rows = [
            Row(value, int(found.get("support", 0)), tuple(found.get(n) for n in chosen))
            for value, found in values.items()
        ]
        tables.append(_sorted(column, "value", chosen, rows))
    return tables


def whole_attributes(metrics: Mapping[str, float]) -> GroupTable | None:
    """Each attribute as a row, from the metrics that are written `map[colour]`."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if match := _SINGLE.match(name):
            found.setdefault(match["attribute"], {})[match["metric"]] = value
    if not found:
        return None
    names = tuple(dict.fromkeys(n for values in found.values() for n in values))
    rows = [Row(attribute, 0, tuple(values.get(n) for n in names)) for attribute, values in found.items()]
    return _sorted("Attribute by attribute", "attribute", names, rows)


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _table(
    title: str, column: str, names: Sequence[str | None], queries: PerQuery, metrics: Sequence[str]
) -> GroupTable | None:
    groups = sorted({name for name in names if name is not None})
    if not groups or not metrics:
        return None
    place = {name: i for i, name in enumerate(groups)}
    codes = np.array([-1 if name is None else place[name] for name in names])
    means, counts = _means(codes, len(groups), [queries.values[name].numpy() for name in metrics])
    rows = [
        Row(name, int(counts[i]), tuple(None if np.isnan(v) else _near_zero(float(v)) for v in means[:, i]))
        for i, name in enumerate(groups)
        if counts[i]
    ]
    return _sorted(title, column, tuple(metrics), rows) if rows else None


def _near_zero(value: float) -> float:
    """0 for what rounding left of it, so that nobody reads -0.000."""
    return 0.0 if abs(value) < _INSIDE else value


def _means(
    codes: NDArray[np.int64], groups: int, columns: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The means of each column by group, NaN left out, and how many queries of a group count in the first."""
    means, first = np.full((len(columns), groups), np.nan), np.zeros(groups, dtype=np.int64)
    for row, column in enumerate(columns):
        counted = (codes >= 0) & ~np.isnan(column)
        sizes = np.bincount(codes[counted], minlength=groups)
        sums = np.bincount(codes[counted], weights=column[counted], minlength=groups)
        np.divide(sums, sizes, out=means[row], where=sizes > 0)
        if row == 0:
            first = sizes
    return means, first


def _sorted(title: str, column: str, metrics: tuple[str, ...], rows: Sequence[Row]) -> GroupTable:
    """Worst first; of equal means the one with more queries first, then by name."""
    order = sorted(rows, key=lambda r: (r.values[0] is None, r.values[0] or 0.0, -r.support, r.name))
    return GroupTable(title, column, metrics, tuple(order[:MOST_ROWS]), max(0, len(order) - MOST_ROWS))

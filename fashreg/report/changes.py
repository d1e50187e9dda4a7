"""What lies behind a difference: the queries and classes that changed most, and the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashreg.jobs.comparison import Comparison
from fashreg.jobs.evaluation_result import Evaluation, Item
from fashreg.report.answers import Answered, answered_query, sorting_column, sorting_metric, told
from fashreg.report.groups import fractions

SHOWN, MOST_CLASSES = 5, 8


@dataclass(frozen=True, slots=True)
class Changed:
    """A query before and after: its answers in A and in B. difference: of its own number, B minus A."""

    one: Answered
    other: Answered
    difference: float


@dataclass(frozen=True, slots=True)
class ChangedClass:
    """The mean of a class in A and B."""

    name: str
    support: int
    one: float
    other: float

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.other - self.one


@dataclass(frozen=True, slots=True)
class Changes:
    """By query: values (Q,) B minus A of `metric`, the queries with the largest gains and losses; by class alike."""

    metric: str
    values: NDArray[np.float64]
    gained: tuple[Changed, ...]
    lost: tuple[Changed, ...]
    classes_up: tuple[ChangedClass, ...]
    classes_down: tuple[ChangedClass, ...]


def read_changes(comparison: Comparison) -> Changes | None:
    """Of several trainings, values are means and answers those of the first. None where queries were not kept."""
    first, second = (side.evaluations[0] for side in (comparison.first, comparison.second))
    if first.per_query is None or not first.items:
        return None
    near = first.neighbours
    attribute = None if near is None else near.attribute
    metric = sorting_metric(first, None) if near is None else (sorting_column(first, near) or (None,))[0]
    if metric is None or metric not in fractions(first):
        return None
    a, b = comparison.first.per_query(metric), comparison.second.per_query(metric)
    if a is None or b is None:
        return None
    items = {int(item["id"]): item for item in first.items}
    ids = first.per_query.ids.tolist()
    counted = [i for i, v in enumerate((b - a).tolist()) if v == v and ids[i] in items]
    if not counted:
        return None
    one, other = a.numpy()[counted], b.numpy()[counted]
    queries = [ids[i] for i in counted]
    difference = other - one
    order = np.argsort(difference, kind="stable").tolist()

    def shown(rows: list[int]) -> tuple[Changed, ...]:
        made = (_changed(queries[r], float(one[r]), float(other[r]), first, second, items) for r in rows)
        return tuple(found for found in made if found is not None)

    classes = _classes([told(items[q], attribute) for q in queries], one, other)
    return Changes(
        metric=metric,
        values=difference,
        gained=shown([r for r in reversed(order) if difference[r] > 0][:SHOWN]),
        lost=shown([r for r in order if difference[r] < 0][:SHOWN]),
        classes_up=tuple(c for c in sorted(classes, key=_by_gain) if c.difference > 0)[:MOST_CLASSES],
        classes_down=tuple(c for c in sorted(classes, key=_by_gain, reverse=True) if c.difference < 0)[:MOST_CLASSES],
    )


def recipe_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(field, in A, in B) for every field that differs, dotted; a dash where it is absent."""
    a, b = _flat(one), _flat(other)
    return [
        (name, a.get(name, "–"), b.get(name, "–")) for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)
    ]


def _changed(
    query: int, one: float, other: float, first: Evaluation, second: Evaluation, items: Mapping[int, Item]
) -> Changed | None:
    shown = []
    for value, evaluation in ((one, first), (other, second)):
        near = evaluation.neighbours
        rows = [] if near is None else np.flatnonzero(near.query_ids.numpy() == query).tolist()
        if near is None or not rows:
            return None
        shown.append(answered_query(rows[0], value, near, items))
    return Changed(shown[0], shown[1], other - one)


def _classes(names: list[Any], one: NDArray[np.float64], other: NDArray[np.float64]) -> list[ChangedClass]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            rows.setdefault(str(name), []).append(row)
    return [
        ChangedClass(n, len(where), float(one[where].mean()), float(other[where].mean())) for n, where in rows.items()
    ]


def _by_gain(changed: ChangedClass) -> tuple[float, str]:
    return -changed.difference, changed.name


def _flat(document: Mapping[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{before}{name}."))
        else:
            flat[f"{before}{name}"] = str(value)
    return flat

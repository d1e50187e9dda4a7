"""Is B better than A? Two results, or several trainings of each, over the same queries by the same protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.functional.uncertainty import paired_test, permutation_p_value
from fashreg.jobs.comparison_sides import Compared, Given, opened
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.protocol import Protocol

__all__ = ["Compared", "Comparison", "Difference", "Given", "compare", "opened"]


@dataclass(frozen=True)
class Difference:
    """One metric of two sides. difference: B minus A. low, high, p_value: of the paired test over queries, better and
    worse: queries where B is; None where the results hold no numbers by query. p_trainings: of the permutation test
    over trainings, None without at least two on either side.
    """

    difference: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    queries: int | None = None
    better: int | None = None
    worse: int | None = None
    p_trainings: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two sides by one protocol. differences: by metric, in the order of the evaluators. notes: for a reader."""

    first: Compared
    second: Compared
    differences: dict[str, Difference]
    notes: tuple[str, ...] = ()

    @property
    def protocol(self) -> Protocol:
        """What both were measured by (source, task and rerankers are those of the first)."""
        return self.first.evaluations[0].protocol

    @property
    def primary(self) -> str:
        """The metric that matters most."""
        return self.first.evaluations[0].primary

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "primary": self.primary,
            "metrics": {
                name: {"a": _side(self.first, name), "b": _side(self.second, name), **vars(found)}
                for name, found in self.differences.items()
            },
            "a": {"name": self.first.name, "folders": list(self.first.folders)},
            "b": {"name": self.second.name, "folders": list(self.second.folders)},
            "notes": list(self.notes),
            "protocol": self.protocol.as_dict(),
        }

    def summary(self) -> str:
        """A table for a terminal."""
        width = max(16, *(len(name) for name in self.differences))
        spread = any(len(side.evaluations) > 1 for side in (self.first, self.second))
        over = "   p over trainings" if any(d.p_trainings is not None for d in self.differences.values()) else ""
        cell = 17 if spread else 8
        lines = [f"A: {self.first.name}", f"B: {self.second.name}", f"{self.protocol.source}: {self.protocol.rule}"]
        title = f"   {'B - A [95 % interval]':<26}{'p':>9}{'better/worse':>15}{over}"
        lines.append(f"  {'':<{width}}{'A':>{cell}}{'B':>{cell}}{title}")
        for name, found in self.differences.items():
            sides = "".join(f"{_cell(side, name):>{cell}}" for side in (self.first, self.second))
            lines.append(f"  {name:<{width}}{sides}   {_told(found)}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def compare(first: Given | Sequence[Given], second: Given | Sequence[Given], *, task: str | None = None) -> Comparison:
    """Compare two results, each an evaluation, an evaluation folder, a run folder, a model on the Hub (user/name@REV),
    or several of them (trainings of one recipe with different seeds), or a folder of such folders. task: whose results,
    of runs and models that were measured task by task.

    Every metric is tested over queries, on the means over trainings; with two trainings or more on both sides also over
    trainings. ModelError when they were not measured by the same protocol, saying what differs.
    """
    one, other = opened(first, task), opened(second, task)
    reference = one.evaluations[0]
    for side in (one, other):
        for folder, evaluation in zip(side.folders, side.evaluations, strict=True):
            _check_alike(one.folders[0] or "A", reference, folder or "B", evaluation)
    differences = {name: _difference(one, other, name) for name in reference.metrics}
    return Comparison(one, other, differences, _notes(one, other, differences[reference.primary], reference.primary))


def _check_alike(name: str, reference: Evaluation, other_name: str, other: Evaluation) -> None:
    differences = reference.protocol.differences(other.protocol)
    if differences:
        told = "; ".join(_difference_of(field, *values) for field, values in differences.items())
        raise ModelError(
            f"{name} and {other_name} were not measured by the same protocol: {told}. Measure one of them again: "
            "fashreg evaluate MODEL --table TABLE --out FOLDER"
        )
    if set(reference.metrics) != set(other.metrics):
        only = sorted(set(reference.metrics) ^ set(other.metrics))
        raise ModelError(f"{name} and {other_name} have different metrics: {', '.join(only)} only in one of them")
    mine, theirs = reference.per_query, other.per_query
    if mine is not None and theirs is not None and not torch.equal(mine.ids, theirs.ids):
        raise ModelError(f"{name} and {other_name} hold the numbers of different queries: one of them was changed")


def _difference_of(field: str, one: Any, other: Any) -> str:
    if field == "data":
        return f"data: other rows or pictures (fingerprints {one[:8]} and {other[:8]})"
    if field in ("evaluators", "rerankers"):
        names = [
            ", ".join(str({"name": s.get("name"), **s.get("config", {})}) for s in specs) for specs in (one, other)
        ]
        return f"{field}: {names[0]} and {names[1]}"
    return f"{field}: {one!r} and {other!r}"


def _difference(one: Compared, other: Compared, metric: str) -> Difference:
    several = min(len(one.evaluations), len(other.evaluations)) > 1
    over_trainings = permutation_p_value(one.values(metric), other.values(metric)) if several else None
    a, b = one.per_query(metric), other.per_query(metric)
    if a is None or b is None:
        return Difference(other.mean(metric) - one.mean(metric), p_trainings=over_trainings)
    try:
        test = paired_test(a, b, groups=_groups(one, other))
    except ValueError as error:
        raise ModelError(f"{one.name} and {other.name} cannot be compared on {metric}: {error}") from error
    return Difference(**{n: getattr(test, n) for n in test.__slots__}, p_trainings=over_trainings)


def _groups(one: Compared, other: Compared) -> Tensor | None:
    """(Q,) which queries are alike, where every result says the same of it."""
    found = [e.per_query.groups for side in (one, other) for e in side.evaluations if e.per_query is not None]
    known = [groups for groups in found if groups is not None]
    same = len(known) == len(found) and all(torch.equal(known[0], groups) for groups in known[1:])
    return known[0] if same and known else None


def _notes(one: Compared, other: Compared, found: Difference, primary: str) -> tuple[str, ...]:
    notes = []
    for what in ("rerankers", "task"):
        a, b = (getattr(side.evaluations[0].protocol, what) for side in (one, other))
        if a != b:
            notes.append(f"{what} differ: {_plain(a)} in A, {_plain(b)} in B")
    if min(len(one.evaluations), len(other.evaluations)) < 2:
        notes.append(
            "the test is over queries: that another training of the same recipe would differ too, it cannot say"
        )
    spreads = [s for s in (one.spread(primary), other.spread(primary)) if s is not None]
    if spreads and abs(found.difference) <= max(spreads):
        notes.append(f"the difference in {primary} is no larger than the spread over trainings")
    return tuple(notes)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(spec.get("name")) for spec in value) or "none"
    return "none" if value is None else str(value)


def _side(side: Compared, metric: str) -> dict[str, Any]:
    return {"mean": side.mean(metric), "std": side.spread(metric), "values": side.values(metric)}


def _cell(side: Compared, metric: str) -> str:
    spread = side.spread(metric)
    return f"{side.mean(metric):.4f}" + ("" if spread is None else f" ±{spread:.4f}")


def _told(found: Difference) -> str:
    if found.p_value is None:
        return f"{found.difference:+.4f}"
    ends = f"[{found.low:+.4f}, {found.high:+.4f}]"
    over = "" if found.p_trainings is None else f"{found.p_trainings:>19.3f}"
    return f"{found.difference:+.4f} {ends}{found.p_value:9.4f}{f'{found.better}/{found.worse}':>15}{over}"

"""Numbers that several questions give together: their means, and what each row that asked has in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fashreg.functional.slices import slice_means
from fashreg.jobs.evaluation_result import Neighbours, StoredVectors
from fashreg.jobs.evaluation_slices import ByValue

CodesOf = Callable[[Tensor], Tensor]  # ids of rows -> the slice of each


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one evaluator found.

    numbers: metric -> value. ids: (P,) ascending, the rows that asked. values: metric -> (P,) whose mean is the metric,
    where it has them. slices: what it finds in each slice. rule, counts: as in `Evaluation`. ranges: what a metric can
    be, where not 0..1. neighbours: of each direction. said: row id -> what its item tells besides.
    """

    numbers: dict[str, float]
    ids: Tensor
    values: dict[str, Tensor]
    slices: Callable[[CodesOf], ByValue]
    rule: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    neighbours: tuple[Neighbours, ...] = ()
    vectors: StoredVectors | None = None
    said: Mapping[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one question gave. ids: (T,) the rows that asked, one perhaps several times, as it was drawn.

    values: metric -> (T,) before the mean, NaN where a query does not count; empty where only means are known.
    """

    numbers: dict[str, float]
    ids: Tensor
    values: dict[str, Tensor]


Joined = Callable[[Mapping[str, Mapping[str, float]]], dict[str, float]]


def joined_numbers(parts: Mapping[str, Part], joined: Joined | None) -> dict[str, float]:
    """All parts together by the evaluator's rule; a single part without one as it is."""
    return _joined({name: part.numbers for name, part in parts.items()}, joined)


def joined_columns(parts: Mapping[str, Part], joined: Joined | None) -> tuple[Tensor, dict[str, Tensor]]:
    """ids (P,) ascending of all that asked, and metric -> (P,) float64 whose mean over what is not NaN is the metric.

    A metric is a weighted sum of means, M = sum_j w_j mean(x_j), found by asking the evaluator; row i has the part

        M + P sum_j w_j sum_{t asked by i} (x_jt - mean(x_j)) / T_j

    whose variance over rows is that of M (the delta method). A metric that is no such sum has no column.
    """
    ids = torch.unique(torch.cat([part.ids for part in parts.values()]))
    if any(not part.values for part in parts.values()):
        return ids, {}
    numbers = {name: part.numbers for name, part in parts.items()}
    whole = _joined(numbers, joined)
    pieces: dict[str, list[tuple[float, str, str]]] = {metric: [] for metric in whole}
    for name, of in numbers.items():
        for metric in of:
            one = {n: {m: float((n, m) == (name, metric)) for m in other} for n, other in numbers.items()}
            for whole_name, weight in _joined(one, joined).items():
                if weight and whole_name in pieces:
                    pieces[whole_name].append((weight, name, metric))
    columns = {}
    for metric, value in whole.items():
        total = sum(weight * numbers[name][n] for weight, name, n in pieces[metric])
        if pieces[metric] and abs(total - value) <= 1e-9 * max(1.0, abs(value)):
            columns[metric] = _column(
                ids, [(w, parts[name].ids, parts[name].values[n]) for w, name, n in pieces[metric]]
            )
    return ids, columns


def part_slices(parts: Mapping[str, Part], joined: Joined | None, codes_of: CodesOf) -> ByValue:
    """Code -> the same numbers over the queries of that slice; where a part has none of them, what the others give."""
    numbers: dict[int, dict[str, dict[str, float]]] = {}
    support: dict[int, int] = {}
    for name, part in parts.items():
        codes = codes_of(part.ids)
        for place, (metric, values) in enumerate(part.values.items()):
            means = slice_means(values, codes)
            rows = zip(means.codes.tolist(), means.means.tolist(), means.support.tolist(), strict=True)
            for code, mean, count in rows:
                if count:
                    numbers.setdefault(code, {}).setdefault(name, {})[metric] = mean
                    support[code] = support.get(code, 0) + (count if place == 0 else 0)
    found: ByValue = {}
    for code, of in sorted(numbers.items()):
        try:
            found[code] = {**_joined(of, joined), "support": support[code]}
        except ValueError:  # a direction that nobody of this slice asks
            found[code] = {f"{name}/{m}": x for name, part in of.items() for m, x in part.items()}
            found[code]["support"] = support[code]
    return found


def _joined(numbers: Mapping[str, Mapping[str, float]], joined: Joined | None) -> dict[str, float]:
    if joined is not None:
        return joined(numbers)
    (only,) = numbers.values()
    return dict(only)


def _column(ids: Tensor, pieces: Sequence[tuple[float, Tensor, Tensor]]) -> Tensor:
    """(P,) the part of each row in a weighted sum of means. pieces: weight, ids (T,), values (T,)."""
    if len(pieces) == 1 and pieces[0][0] == 1.0 and len(torch.unique(pieces[0][1])) == len(pieces[0][1]):
        column = torch.full((len(ids),), torch.nan, dtype=torch.float64)
        column[torch.searchsorted(ids, pieces[0][1])] = pieces[0][2].double()
        return column
    value, total = 0.0, torch.zeros(len(ids), dtype=torch.float64)
    asked = torch.zeros(len(ids), dtype=torch.bool)
    for weight, theirs, values in pieces:
        known = ~values.isnan()
        counted = values[known].double()
        at = torch.searchsorted(ids, theirs[known])
        total.index_add_(0, at, weight * (counted - counted.mean()) / len(counted))
        asked[at] = True
        value += weight * float(counted.mean())
    total -= total[asked].mean()
    return torch.where(asked, value + int(asked.sum()) * total, torch.nan)

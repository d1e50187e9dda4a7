"""The same metrics over parts of the queries: by class, season, camera, whatever column the table has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fashreg.functional.slices import slice_means
from fashreg.jobs.evaluation_attributes import OfAttribute
from fashreg.jobs.evaluation_result import Slice

ByValue = dict[int, Slice]


def label_slices(values: Mapping[str, Tensor], codes: Tensor) -> ByValue:
    """Code -> the means of its queries. values: metric -> (Q,) before the mean. codes: (Q,), -1 = none."""
    found: ByValue = {}
    for metric, column in values.items():
        means = slice_means(column, codes)
        for code, mean, support in zip(means.codes.tolist(), means.means.tolist(), means.support.tolist(), strict=True):
            if support:
                found.setdefault(code, {"support": support})[metric] = mean
    return found


def attribute_slices(evaluator: Any, found: Mapping[str, OfAttribute], codes: Mapping[str, Tensor]) -> ByValue:
    """The same for an evaluator of attributes: their numbers within a slice are joined by its own rule.

    codes: attribute -> (Q_a,) slice of each of its queries. support: of all attributes together.
    """
    numbers: dict[int, dict[str, dict[str, float]]] = {}
    support: dict[int, dict[str, int]] = {}
    for attribute, of in found.items():
        for metric, column in (of.values or {}).items():
            means = slice_means(column, codes[attribute])
            rows = zip(means.codes.tolist(), means.means.tolist(), means.support.tolist(), strict=True)
            for code, mean, count in rows:
                if count:
                    numbers.setdefault(code, {}).setdefault(attribute, {})[metric] = mean
                    support.setdefault(code, {})[attribute] = count
    return {
        code: {**evaluator.combine(numbers[code], support[code]), "support": sum(support[code].values())}
        for code in sorted(numbers)
    }


def merged(parts: Mapping[int, ByValue], names: Sequence[str]) -> dict[str, Slice]:
    """Value -> metrics, of several evaluators by their places; what two of them give is that of the first."""
    found: dict[str, Slice] = {}
    for _, part in sorted(parts.items()):
        for code in sorted(part):
            here = found.setdefault(names[code], {})
            here.update({metric: value for metric, value in part[code].items() if metric not in here})
    return found


def codes_by_id(ids: Tensor, codes: Tensor, wanted: Tensor) -> Tensor:
    """The codes (W,) of some ids that are there. ids, codes: (N,) of all rows."""
    ordered, order = ids.sort()
    return codes[order[torch.searchsorted(ordered, wanted)]]

"""Retrieval by one attribute after another: the numbers of each, and together, query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class OfAttribute:
    """What an evaluator found for one attribute. ids: (Q_a,) of the queries. values: None where it gives only means."""

    numbers: dict[str, float]
    support: int
    ids: Tensor
    values: dict[str, Tensor] | None


def combined(evaluator: Any, found: Mapping[str, OfAttribute]) -> dict[str, float]:
    """All attributes together by the evaluator's rule, and each metric of one attribute as `map[colour]`."""
    numbers = {attribute: of.numbers for attribute, of in found.items()}
    metrics: dict[str, float] = dict(evaluator.combine(numbers, {a: of.support for a, of in found.items()}))
    metrics.update({f"{metric}[{a}]": value for a, of in found.items() for metric, value in of.numbers.items()})
    return metrics


def columns(evaluator: Any, found: Mapping[str, OfAttribute], ids: Tensor) -> dict[str, Tensor]:
    """Metric -> (P,) float64 whose mean is the metric. ids: (P,) ascending, all pictures that asked.

    `map[colour]` holds each picture's own value. A metric M that joins attributes is a function of their means and
    their numbers of queries, and picture i has in it the part

        M + P sum_a [dM/dmean_a (x_ia - mean_a) / Q_a + dM/dQ_a]              (a: the attributes that i asks for)

    moved so that the mean is M; its variance is then that of M (the delta method). A metric that is no weighted sum of
    the attributes' means has no column.
    """
    if any(of.values is None for of in found.values()):
        return {}
    made: dict[str, Tensor] = {}
    for attribute, of in found.items():
        places = torch.searchsorted(ids, of.ids)
        for metric, values in (of.values or {}).items():
            made[f"{metric}[{attribute}]"] = torch.full((len(ids),), torch.nan, dtype=torch.float64)
            made[f"{metric}[{attribute}]"][places] = values.double()
    numbers = {attribute: of.numbers for attribute, of in found.items()}
    support = {attribute: of.support for attribute, of in found.items()}
    joint: dict[str, float] = evaluator.combine(numbers, support)
    shares = _shares(evaluator, joint, numbers, support)
    more = {a: evaluator.combine(numbers, {**support, a: support[a] + 1}) for a in found}
    for metric, weights in shares.items():
        growth = {attribute: more[attribute][metric] - joint[metric] for attribute in found}
        made[metric] = _parts(joint[metric], weights, growth, numbers, made)
    return made


Numbers = Mapping[str, Mapping[str, float]]
Shares = dict[tuple[str, str], float]  # (attribute, its metric) -> weight


def _shares(
    evaluator: Any, joint: Mapping[str, float], numbers: Numbers, support: Mapping[str, int]
) -> dict[str, Shares]:
    """The weights of those joint metrics that are weighted sums of the attributes' metrics."""
    shares: dict[str, Shares] = {metric: {} for metric in joint}
    for attribute in numbers:
        for name in numbers[attribute]:
            one = {a: {n: float((a, n) == (attribute, name)) for n in numbers[a]} for a in numbers}
            for metric, weight in evaluator.combine(one, support).items():
                if weight and metric in shares:
                    shares[metric][attribute, name] = weight
    sums = {metric: sum(w * numbers[a][n] for (a, n), w in shares[metric].items()) for metric in joint}
    return {m: shares[m] for m in joint if shares[m] and abs(sums[m] - joint[m]) <= 1e-9 * max(1, abs(joint[m]))}


def _parts(
    metric: float, weights: Shares, growth: Mapping[str, float], numbers: Numbers, made: Mapping[str, Tensor]
) -> Tensor:
    """(P,) the part of each picture in one joint metric, NaN for one that asks for none of its attributes.

    growth: attribute -> how the metric changes when one more picture like the others asks for it.
    """
    total = torch.zeros_like(next(iter(made.values())))
    asked = torch.zeros_like(total, dtype=torch.bool)
    for (attribute, name), weight in weights.items():
        column = made[f"{name}[{attribute}]"]
        known = ~column.isnan()
        part = weight * (column - numbers[attribute][name]) / int(known.sum()) + growth[attribute]
        total += torch.where(known, part, 0.0)
        asked |= known
    total -= total[asked].mean()
    return torch.where(asked, metric + int(asked.sum()) * total, torch.nan)

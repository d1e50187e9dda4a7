"""What mclfir_real.py says of its cells: means, intervals and Markdown tables."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
from mclfir_data import Products

from fashreg.functional import continual

Numbers = dict[str, Any]
HEADS = (
    "validation",
    "normalised",
    "a voice a value",
    "R@1",
    "R@10",
    "AIM",
    "forgetting, max",
    "forgetting, last",
    "BWT",
    "FWT",
)


def final(run: Numbers) -> float:
    """The mean MAP over what was learnt, at the end."""
    return statistics.mean(value for value in run["map"][-1] if value is not None)


def cost(run: Numbers, name: str) -> float:
    """One of the costs over the whole stream."""
    return float(sum(part.get(name, 0) for part in run["cost"]))


def precisions(runs: list[Numbers]) -> dict[str, Any]:
    """(Q,) by attribute: the mean over trainings of each query's average precision."""
    return {name: np.mean([run["precision"][name] for run in runs], axis=0) / 1e4 for name in runs[0]["precision"]}


def difference(products: Products, a: list[Numbers], b: list[Numbers], draws: int = 2000) -> tuple[float, float, float]:
    """b minus a in final MAP and its 95 % interval: groups of near-duplicates are drawn, for all attributes at once."""
    one, other = precisions(a), precisions(b)
    units = np.unique(products.groups, return_inverse=True)[1]
    count = int(units.max()) + 1
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=draws)
    total, value = np.zeros(draws), 0.0
    for name in one:
        gap = other[name] - one[name]
        weight = drawn[:, units[products.asked(name, "test").queries]]
        total += (weight @ gap) / np.maximum(1, weight.sum(1)) / len(one)
        value += float(gap.mean()) / len(one)
    low, high = np.quantile(total, (0.025, 0.975))
    return value, float(low), float(high)


def figures(run: Numbers) -> list[float]:
    """The numbers below HEADS; NaN where there is no such thing."""
    chance = run["chance"]
    precision = {name: statistics.mean(values) / 1e4 for name, values in run["precision"].items()}
    found = [statistics.mean(run["validation"].values()) if "validation" in run else math.nan]
    found += [statistics.mean((precision[name] - low) / (1 - low) for name, low in chance.items())]
    found += [statistics.mean(run[name].values()) for name in ("balanced", "recall@1", "recall@10")]
    m = np.array(run["map"], dtype=float)
    if len(m) < 2:
        return [*found, *[math.nan] * 5]
    learnt = np.where(np.tril(np.ones(m.shape, dtype=bool)), m, np.nan)
    over = [
        continual.average_incremental(learnt), continual.forgetting(learnt, form="max"),
        continual.forgetting(learnt, form="last"), continual.backward_transfer(learnt),
        continual.forward_transfer(m, list(chance.values())) if len(chance) == len(m) else math.nan,
    ]  # fmt: skip
    return [*found, *(float(value) for value in over)]


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def said(values: list[float], form: str = ".3f") -> str:
    value = statistics.mean(values)
    return "" if math.isnan(value) else format(value, form)


def show(title: str, rows: dict[str, list[Numbers]]) -> None:
    """A Markdown line a method: means over trainings; of the final MAP also deviation and range."""
    costs = {
        "tuples": (1, ",.0f"), "image_passes": (1, ",.0f"), "seconds": (1, ".0f"), "parameters": (1e-6, ".2f"),
        "exemplar_bytes": (1e-6, ".1f"),
    }  # fmt: skip
    heads = [
        "method",
        "trainings",
        "final MAP",
        *HEADS,
        "tuples",
        "image passes",
        "seconds",
        "kept, M numbers",
        "exemplars, MB",
    ]
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, runs in rows.items():
        if not runs:
            continue
        numbers = [said(list(values)) for values in zip(*map(figures, runs), strict=True)]
        spent = [said([factor * cost(run, part) for run in runs], form) for part, (factor, form) in costs.items()]
        print(
            f"| {' | '.join([name, str(len(runs)), spread([final(r) for r in runs]), *numbers, *spent])} |", flush=True
        )


def attributes(title: str, rows: dict[str, list[Numbers]]) -> None:
    """Final MAP of every attribute, mean over trainings, below that of a random ranking."""
    first = next(runs[0] for runs in rows.values() if runs)
    names = sorted(first["chance"])
    print(f"\n{title}\n\n| method | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    print(f"| random ranking | {' | '.join(format(first['chance'][name], '.3f') for name in names)} |")
    for method, runs in rows.items():
        if runs:
            found = precisions(runs)
            print(f"| {method} | {' | '.join(f'{found[name].mean():.3f}' for name in names)} |", flush=True)


def galleries(title: str, rows: dict[str, list[Numbers]]) -> None:
    """Galleries embedded when their attribute was learnt, asked at the end: MAP and recall@1, mean over attributes."""
    kinds = ("old/old", "new/old", "new/new")
    heads = [f"{kind} {metric}" for metric in ("MAP", "R@1") for kind in kinds]
    print(f"\n{title}\n\n| method | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|")
    for name, runs in rows.items():
        olds = [of for run in runs for of in run["old gallery"].values()]
        if olds:
            values = [statistics.mean(of[kind][place] for of in olds) for place in (0, 1) for kind in kinds]
            print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)

"""Drift in the log of a run, and in its report: looked at on pictures that come again, so no forward pass is added.

A picture of the batch that the memory still holds shows how far its remembered row, as the loss reads it, lies from the
present embedding. Where the memory holds less than an epoch, such pictures are few, and all of them at the turn of an
epoch. Names in the log:

    drift[angle]        mean 1 - cos over these pairs
    drift[age 100]      the same over pairs of age 31 .. 100 steps; other bins alike
    drift[correctable]  share of their squared distance that matching moments could still undo, of 16 pairs or more
    drift[mean gap], drift[std gap]   what the step closed: |moments of the memory - wanted moments| before the move
    drift[dimensions]   (sum s^2)^2 / sum s^4 over the wanted stds s: D where all dimensions spread alike, 1 where one
                        does. Dimensions that collapse in the batches collapse in the memory, too: watch it fall
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fashreg.hookspecs import ReportChart, ReportSection
from fashreg.memories.xbm import XBMMemory
from fashreg.values import Embedded
from fashreg_acbn.drift import drift_of, revisited

EDGES = (10, 30, 100, 300, 1000, 3000, 10_000)
LEAST_PAIRS = 16  # fewer say nothing about moments

Log = Sequence[Mapping[str, Any]]


@torch.no_grad()
def drift_parts(memory: XBMMemory, batch: Embedded, before: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """The named numbers above for a batch and the memory as it is read now.

    before, wanted: (2, D), mean and std of the rows before they were moved, and those they were moved to.
    """
    mean_gap, std_gap = (wanted - before).norm(dim=1).unbind()
    parts = {"drift[mean gap]": mean_gap, "drift[std gap]": std_gap, "drift[dimensions]": spread_over(wanted[1])}
    slots, places = revisited(memory, batch)
    if len(slots):
        rows = memory.read().take(slots).vectors
        present = batch.vectors.detach()[places.to(batch.vectors.device)]
        drift = drift_of(rows, present, memory.ages()[slots], EDGES)
        named = {"drift[angle]": drift.angle} | {f"drift[age {bin.upto or 'more'}]": bin.angle for bin in drift.by_age}
        if drift.rows >= LEAST_PAIRS and drift.correctable is not None:
            named["drift[correctable]"] = drift.correctable
        parts |= {name: torch.tensor(value) for name, value in named.items()}
    return parts


def spread_over(std: Tensor) -> Tensor:
    """How many dimensions the spread is spread over: (sum s^2)^2 / sum s^4 of stds s (D,), 1..D; 0 without spread."""
    variance = std.square()
    return variance.sum().square() / variance.square().sum().clamp_min(torch.finfo(std.dtype).tiny)


def drift_sections(log: Log) -> list[ReportSection]:
    """A section on drift for the report of a run whose log tells of it."""
    if not any("drift[mean gap]" in line for line in log):
        return []
    charts = [_by_age(log)] + [
        _chart(title, {name: _column(log, f"drift[{name}]") for name in names}, "step")
        for title, names in (
            ("Remembered rows beside the same pictures now, 1 - cos", ("angle",)),
            ("What a step closes", ("mean gap", "std gap")),
            ("What matching moments could still undo", ("correctable",)),
            ("Dimensions that the spread is spread over", ("dimensions",)),
        )
    ]
    note = (
        "Rows in memory were made by older weights; before every loss they are moved to the moments of the present "
        "embedding. Shown is what is left, on pictures that came again while they were still remembered; two "
        "augmentations of one picture differ, too. What a step closes: the distance between the moments of the memory "
        "before the move and the wanted ones."
    )
    return [ReportSection("Drift of the memory", note, [chart for chart in charts if chart is not None])]


def _by_age(log: Log) -> ReportChart | None:
    """The curve of drift by age, over the second half of the log."""
    late = log[len(log) // 2 :]
    points = []
    for low, high in zip((0, *EDGES), EDGES, strict=False):
        _, values = _column(late, f"drift[age {high}]")
        if values:
            points.append(((low + high) / 2, sum(values) / len(values)))
    curve = ([age for age, _ in points], [angle for _, angle in points])
    note = "second half of the log; a dot stands at the middle of its bin"
    return _chart("Drift by age, 1 - cos", {"by age": curve}, "age in steps", note)


def _chart(
    title: str, series: Mapping[str, tuple[list[float], list[float]]], x_label: str, note: str = ""
) -> ReportChart | None:
    there = {name: columns for name, columns in series.items() if columns[0]}
    return ReportChart(title, there, x_label, note) if there else None


def _column(log: Log, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the lines that have the number."""
    pairs = [(float(line["step"]), float(line[name])) for line in log if isinstance(line.get(name), int | float)]
    return [step for step, _ in pairs], [value for _, value in pairs]

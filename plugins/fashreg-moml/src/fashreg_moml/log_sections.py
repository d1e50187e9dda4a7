"""In the report of a run: what the objectives weigh and contribute, how near the proxies are, which classes came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashreg.hookspecs import ReportChart, ReportSection

Log = Sequence[Mapping[str, Any]]

_CHARTS = (
    (
        "Share of what moves the rows, and of what moves the proxies",
        {
            "pairs, on rows": "share[pair]",
            "remembered pairs, on rows": "memory.share[pair]",
            "repulsion, on proxies": "share[repulsion]",
        },
        "of the summed norms of the gradients, in the step measured last; the rest is the proxy objective's",
    ),
    (
        "Weights",
        {
            "pairs": "weight[pair]",
            "remembered pairs": "memory.weight[pair]",
            "proxies": "weight[proxy]",
            "repulsion": "weight[repulsion]",
        },
        "what each value is multiplied with",
    ),
    (
        "Cosine between the pairs' and the proxies' pull on the rows",
        {"cosine": "cosine[pair, proxy]"},
        "below 0 they work against each other",
    ),
    (
        "Cosine of a class's proxy and the nearest other",
        {"mean over the batch's classes": "similarity[nearest proxies]"},
        "",
    ),
    (
        "Mean length of the proxies",
        {"length": "length[proxies]"},
        "only their directions count; longer ones turn slower",
    ),
)


def objective_sections(log: Log) -> list[ReportSection]:
    """A section on the objectives for the report of a run whose log tells of them."""
    if not any("weight[proxy]" in line or "batch.weight[proxy]" in line for line in log):
        return []
    charts = [_chart(log, title, series, note) for title, series, note in _CHARTS]
    note = (
        "Pairs of pictures, pictures with the proxies of their classes, and the proxies among themselves are one loss. "
        "Pairs move the embeddings only, the repulsion moves the proxies only, so each is compared with the proxy "
        "objective where both have a say."
    )
    return [ReportSection("Three objectives", note, [chart for chart in charts if chart is not None])]


def coverage_sections(log: Log) -> list[ReportSection]:
    """A section on the classes that sampler two-relation drew, for the report of a run whose log tells of them."""
    chart = _chart(
        log,
        "Share of all classes in the batches of an epoch so far",
        {"classes": "coverage[classes]"},
        "it begins anew with each epoch; what it reaches at the end is how much of the catalogue an epoch saw",
    )
    return [] if chart is None else [ReportSection("Which classes were drawn", "Sampler two-relation.", [chart])]


def _chart(log: Log, title: str, series: Mapping[str, str], note: str) -> ReportChart | None:
    found = {name: _column(log, part) for name, part in series.items()}
    there = {name: columns for name, columns in found.items() if columns[0]}
    return ReportChart(title, there, "step", note) if there else None


def _column(log: Log, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the lines that have the number, of the batch itself where a memory takes part, too."""
    pairs = [
        (float(line["step"]), float(value))
        for line in log
        if isinstance(value := line.get(f"batch.{name}", line.get(name)), int | float)
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]

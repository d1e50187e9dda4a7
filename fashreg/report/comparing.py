"""`fashreg compare --html`: two results side by side in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.jobs.comparison import Compared, Comparison, Difference
from fashreg.report.changes import Changes, read_changes, recipe_differences
from fashreg.report.charts import Chart, histogram, line_chart, spread_chart
from fashreg.report.page import render, write_page
from fashreg.report.settings import protocol_of
from fashreg.report.subject import Subject, read_subject
from fashreg.report.thumbnails import Thumbnails


def write_comparison(comparison: Comparison, out: str | Path) -> Path:
    """Write the page of a comparison as one HTML file that needs nothing else; returns its path."""
    return write_page(comparison_html(comparison), out)


def comparison_html(comparison: Comparison) -> str:
    """The page as text."""
    runs = [_subject(side) for side in (comparison.first, comparison.second)]
    near = comparison.first.evaluations[0].neighbours
    changes = read_changes(comparison)
    rows = [_row(comparison, name, found) for name, found in comparison.differences.items()]
    content = {
        "rows": sorted(rows, key=lambda row: row.name != comparison.primary),
        "charts": _charts(comparison, changes, runs),
        "changes": changes,
        "recipe": _recipes(runs),
        "protocol": protocol_of(comparison.protocol),
        "notes": comparison.notes,
    }
    return render(
        "comparison.html",
        Thumbnails(Path()),
        None if near is None else near.attribute,
        title=f"{_short(comparison.second)} against {_short(comparison.first)}",
        names=[comparison.first.name, comparison.second.name],
        trainings=[len(side.evaluations) for side in (comparison.first, comparison.second)],
        primary=comparison.primary,
        contents=_contents(content),
        **content,
    )


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One metric. reach: the number that the scale of differences ends at, the same for all rows of a page."""

    name: str
    one: float
    other: float
    spreads: tuple[float | None, float | None]
    found: Difference
    reach: float

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference leaves zero out."""
        low, high = self.found.low, self.found.high
        return low is not None and high is not None and not low <= 0.0 <= high

    def place(self, value: float) -> float:
        """Where a difference lies on the scale, 0..1 with zero in the middle."""
        return 0.5 + 0.5 * min(1.0, max(-1.0, value / self.reach))


def _row(comparison: Comparison, name: str, found: Difference) -> ComparedRow:
    ends = [
        abs(value)
        for each in comparison.differences.values()
        for value in (each.difference, each.low, each.high)
        if value is not None
    ]
    one, other = comparison.first, comparison.second
    spreads = one.spread(name), other.spread(name)
    return ComparedRow(name, one.mean(name), other.mean(name), spreads, found, 1.05 * max(ends) or 1.0)


def _charts(comparison: Comparison, changes: Changes | None, runs: Sequence[Subject | None]) -> list[Chart]:
    charts = []
    if changes is not None:
        label = f"{changes.metric}, B minus A"
        charts.append(histogram(changes.values, label, reach=(-1.0, 1.0)))
    sides = {"A": comparison.first, "B": comparison.second}
    if any(len(side.evaluations) > 1 for side in sides.values()):
        name = comparison.primary
        charts.append(spread_chart(f"{name} of each training", {n: side.values(name) for n, side in sides.items()}))
    for title, x, key in (("Loss", "step", "loss"), (f"Validation, {comparison.primary}", "epoch", comparison.primary)):
        series = {n: _curve(run, x, key) for n, run in zip("AB", runs, strict=True) if run is not None}
        there = {name: found for name, found in series.items() if found[0]}
        if there:
            drawn = line_chart(title, there, x, dots=x == "epoch")
            charts.append(Chart(drawn.title, drawn.drawing, tuple(there), drawn.note))
    return charts


def _curve(run: Subject, x: str, key: str) -> tuple[list[float], list[float]]:
    """One number of the training log."""
    lines: Sequence[Mapping[str, Any]] = run.steps
    if x == "epoch":
        lines = [{**line.get("metrics", {}), "epoch": line.get("epoch")} for line in run.checks]
    found = [(float(line[x]), float(line[key])) for line in lines if line.get(x) is not None and key in line]
    return [a for a, _ in found], [b for _, b in found]


def _subject(side: Compared) -> Subject | None:
    """The run that the first result of a side belongs to; None where there is none."""
    if not side.folders or not side.folders[0]:
        return None
    try:
        return read_subject(side.folders[0])
    except ModelError:  # the comparison has read what it needs; a log or recipe beside it is extra
        return None


def _recipes(runs: Sequence[Subject | None]) -> list[tuple[str, str, str]] | None:
    """What differs in the recipes; None unless both are known."""
    known = [run.recipe for run in runs if run is not None and run.recipe]
    return recipe_differences(known[0], known[1]) if len(known) == 2 else None


def _short(side: Compared) -> str:
    """The last two parts of a folder's name, without `evaluation`; what came from the Hub as it was asked for."""
    first = side.folders[0] if side.folders else ""
    if not Path(first).is_dir():
        return side.name
    parts = [p for p in Path(first or side.name).parts if p not in ("evaluation", "/")]
    more = f" and {len(side.evaluations) - 1} more" if len(side.evaluations) > 1 else ""
    return "/".join(parts[-2:]) + more


def _contents(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    named = [("charts", "Charts"), ("changes", "What changed"), ("recipe", "Recipes")]
    return [("metrics", "Metrics"), *(pair for pair in named if content[pair[0]] is not None), ("protocol", "Protocol")]

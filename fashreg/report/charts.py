"""The charts of a report: lines over steps, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fashreg.report.svg import Frame, joined, number, tag

MOST_POINTS = 400
_SPEED, _RATE = "images_per_second", "lr"
_NOT_SERIES = frozenset({"kind", "experience", "step", "epoch", _SPEED, _RATE})


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its heading. legend: the names of its lines in order; empty when the heading says it."""

    title: str
    drawing: Markup
    legend: tuple[str, ...] = ()
    note: str = ""


Line = Mapping[str, Any]
Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def training_charts(steps: Sequence[Line], checks: Sequence[Line], chosen: Sequence[str] = ()) -> list[Chart]:
    """Loss with its parts, metrics by epoch, learning rate and speed, as far as the log has them.

    chosen: the metrics to draw; without, the first ones.
    """
    charts = []
    if parts := _series(steps, "step", first="loss"):
        charts.append(line_chart("Loss", parts, "step"))
    rows = [{**_among(line.get("metrics", {}), chosen), "epoch": line.get("epoch"), **_of(line)} for line in checks]
    if measured := _series(rows, "epoch"):
        best = [line["epoch"] for line in checks if line.get("best") and "epoch" in line]
        note = f"best weights: epoch {best[-1]:g}" if best else ""
        charts.append(line_chart("Validation", measured, "epoch", dots=True, note=note))
    for name, title in ((_RATE, "Learning rate"), (_SPEED, "Pictures per second")):
        series = _column(steps, "step", name)
        if len(series[0]) > 1:
            charts.append(line_chart(title, {name: series}, "step", from_zero=True))
    return charts


def _series(rows: Sequence[Line], x: str, *, first: str = "", most: int = 6) -> Series:
    """Each number of the rows by x, `first` before the others, attributes' own left out.

    Where the rows come from several experiences, the first number of each experience.
    """
    names = [name for name in _names(rows) if name not in _NOT_SERIES and "[" not in name]
    names.sort(key=lambda name: name != first)
    experiences = list(dict.fromkeys(str(row.get("experience")) for row in rows))
    if len(experiences) > 1 and names:
        found = {e: _column([r for r in rows if str(r.get("experience")) == e], x, names[0]) for e in experiences}
    else:
        found = {name: _column(rows, x, name) for name in names}
    return dict([item for item in found.items() if item[1][0]][:most])


def _among(metrics: Mapping[str, Any], chosen: Sequence[str]) -> Mapping[str, Any]:
    """Those that were chosen, in that order; all where none was, or none of them is there."""
    return {name: metrics[name] for name in chosen if name in metrics} or metrics


def _of(line: Line) -> dict[str, Any]:
    return {"experience": line.get("experience")}


def line_chart(
    title: str,
    series: Series,
    x_label: str,
    *,
    dots: bool = False,
    from_zero: bool = False,
    note: str = "",
) -> Chart:
    """Lines over one axis. Long series are thinned to bin means; dots mark every value and say it when pointed at."""
    thin = {name: _thinned(*columns) for name, columns in series.items()}
    xs = np.concatenate([x for x, _ in thin.values()])
    ys = np.concatenate([y for _, y in thin.values()])
    frame = Frame(_span(xs), _span(ys, pad=0.06, floor=0.0 if from_zero else None))
    drawn = [_line(frame, place, name, *columns, dots) for place, (name, columns) in enumerate(thin.items())]
    axes = frame.axes(x_label, whole=True)
    legend = tuple(thin) if len(thin) > 1 else ()
    return Chart(title, frame.drawing([axes, *drawn], f"{title} by {x_label}: {', '.join(thin)}"), legend, note)


def histogram(
    values: NDArray[np.float64], metric: str, bins: int = 20, reach: tuple[float, float] = (0.0, 1.0)
) -> Chart:
    """How the queries spread over a number within `reach`."""
    counts, edges = np.histogram(np.clip(values, *reach), bins=bins, range=reach)
    frame = Frame(reach, (0.0, max(1.0, float(counts.max()) * 1.08)))
    floor, mean = frame.up(0.0), float(values.mean())
    bars = []
    for count, low, high in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        left, right, y = frame.across(low) + 1, frame.across(high) - 1, frame.up(count)
        said = tag("title", f"{low:.2f} to {high:.2f}: {count:,} queries")
        bars.append(tag("rect", said, x=left, y=y, width=right - left, height=max(0.0, floor - y), class_="bar"))
    x = frame.across(mean)
    end = x > 0.75 * frame.width
    line = tag("line", x1=x, x2=x, y1=frame.top, y2=floor, class_="mean")
    text = tag(
        "text", f"mean {mean:.3f}", x=x + (-6 if end else 6), y=frame.top + 10,
        text_anchor="end" if end else "start", class_="strong",
    )  # fmt: skip
    title = f"Queries by {metric}"
    return Chart(title, frame.drawing([frame.axes(metric), *bars, line, text], title))


def spread_chart(title: str, sides: Mapping[str, Sequence[float]]) -> Chart:
    """One dot for each value, a row for each side, and the mean of each as a line."""
    every = np.array([value for values in sides.values() for value in values])
    frame = Frame(_span(every, pad=0.1), (0.0, float(len(sides))))
    parts = [frame.axes("", rows=False)]
    for place, (name, values) in enumerate(sides.items()):
        y = frame.up(len(sides) - place - 0.5)
        mean = frame.across(float(np.mean(values)))
        parts.append(tag("text", name, x=frame.left - 12, y=y + 4, text_anchor="end", class_="strong"))
        parts.append(tag("line", x1=mean, x2=mean, y1=y - 18, y2=y + 18, class_=f"line s{place}"))
        for value in values:
            said = tag("title", f"{name} {value:.4f}")
            parts.append(tag("circle", said, cx=frame.across(value), cy=y, r=5.0, class_=f"dot s{place}"))
    return Chart(title, frame.drawing(parts, title), note="dots: trainings; lines: their means")


def _line(frame: Frame, place: int, name: str, xs: NDArray[np.float64], ys: NDArray[np.float64], dots: bool) -> Markup:
    points = [(frame.across(x), frame.up(y)) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
    path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    drawn = [tag("polyline", points=path, class_=f"line s{place}")] if len(points) > 1 else []
    if dots or len(points) == 1:
        drawn += [
            tag("circle", tag("title", f"{name} {y:.4f} at {x:g}"), cx=px, cy=py, r=3.0, class_=f"dot s{place}")
            for (px, py), x, y in zip(points, xs.tolist(), ys.tolist(), strict=True)
        ]
    return joined(drawn)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every key with a number, in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, int | float)))


def _column(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> tuple[list[float], list[float]]:
    """The finite values of a column beside those of another."""
    pairs = [(float(row[x]), float(row[y])) for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most MOST_POINTS points: the means of equal stretches."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if len(x) <= MOST_POINTS:
        return x, y
    parts = zip(np.array_split(x, MOST_POINTS), np.array_split(y, MOST_POINTS), strict=True)
    means = np.array([(a.mean(), b.mean()) for a, b in parts])
    return means[:, 0], means[:, 1]


def _span(values: NDArray[np.float64], pad: float = 0.0, floor: float | None = None) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    low = low if floor is None else min(floor, low)
    if high <= low:
        return low - 0.5, high + 0.5
    room = pad * (high - low)
    return (low - room if floor is None else low), high + room

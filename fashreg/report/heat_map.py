"""A matrix as a drawing: a cell for each number, shaded by it, with the number written in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fashreg.report.svg import joined, number, tag

_LEFT, _TOP, _BOTTOM = 132.0, 30.0, 8.0
_WIDE, _HIGH, _GAP = 78.0, 46.0, 3.0
_LONGEST_ROW, _LONGEST_COLUMN = 20, 12  # letters
_DEEPEST = 0.5  # text on the deepest shade keeps a contrast of 4.5 in both colour schemes


@dataclass(frozen=True, slots=True)
class Cell:
    """One number in 0..1. more: a short line below it. mark: "own" has a frame, "ahead" a dashed one and no shade,
    "apart" neither. said: what a pointer is told.
    """

    value: float
    more: str = ""
    mark: str = ""
    said: str = ""


def heat_map(title: str, rows: Sequence[tuple[str, Sequence[Cell | None]]], columns: Sequence[str]) -> Markup:
    """Rows of cells below the names of their columns; None leaves a place empty. 0 has no shade, 1 the deepest."""
    width, height = _LEFT + len(columns) * _WIDE, _TOP + len(rows) * _HIGH + _BOTTOM
    parts = [
        _named(name, _LONGEST_COLUMN, x=_LEFT + (place + 0.5) * _WIDE, y=_TOP - 11, text_anchor="middle")
        for place, name in enumerate(columns)
    ]
    for place, (name, cells) in enumerate(rows):
        top = _TOP + place * _HIGH
        parts.append(_named(name, _LONGEST_ROW, x=_LEFT - 10, y=top + _HIGH / 2 + 3.5, text_anchor="end"))
        parts += [_cell(cell, _LEFT + i * _WIDE, top) for i, cell in enumerate(cells) if cell is not None]
    inside = tag("title", title) + joined(parts)
    size = f"min-width:{number(0.7 * width)}px;max-width:{number(1.5 * width)}px"
    box = f"0 0 {number(width)} {number(height)}"
    return tag("svg", inside, viewBox=box, role="img", class_="chart heat", style=size)


def _cell(cell: Cell, left: float, top: float) -> Markup:
    shade = _DEEPEST * cell.value if cell.mark in ("", "own") else 0.0
    box = tag(
        "rect", x=left + _GAP / 2, y=top + _GAP / 2, width=_WIDE - _GAP, height=_HIGH - _GAP, rx=4,
        class_=f"cell {cell.mark}".strip(), fill_opacity=shade,
    )  # fmt: skip
    middle = left + _WIDE / 2
    lines = [_line(f"{cell.value:.3f}", middle, top + (20 if cell.more else 27), "strong")]
    if cell.more:
        lines.append(_line(cell.more, middle, top + 35, "more"))
    return tag("g", joined(_told(cell)) + box + joined(lines))


def _told(cell: Cell) -> Iterable[Markup]:
    return [tag("title", cell.said)] if cell.said else []


def _line(text: str, x: float, y: float, kind: str) -> Markup:
    return tag("text", text, x=x, y=y, text_anchor="middle", class_=kind)


def _named(name: str, longest: int, **place: float | str) -> Markup:
    """A name, shortened where it is long; pointed at, whole."""
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return tag("text", Markup("{}{}").format(short, tag("title", name)), **place)

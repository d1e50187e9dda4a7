"""Drawing as SVG text: numbers, ticks and a frame with axes. Colours and type come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def number(value: float) -> str:
    """A coordinate, short: two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def tag(name: str, content: str | Markup = "", **attributes: str | float) -> Markup:
    """One element, everything escaped. `class_` and `text_anchor` are written as class and text-anchor."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{number(v) if isinstance(v, float | int) else escape(v)}"'
        for key, v in attributes.items()
    ]
    body = escape(content)
    return Markup(f"<{name}{''.join(parts)}>{body}</{name}>") if body else Markup(f"<{name}{''.join(parts)}/>")


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after another."""
    return Markup("").join(parts)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within low..high, about `wanted` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick's number with as many digits as the step needs."""
    if value and (abs(value) >= 1e6 or step < 1e-4):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    decimals = next((d for d in range(5) if abs(step - round(step, d)) < step * 1e-6), 5)
    return f"{value:,.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Frame:
    """A plotting area of `width` x `height` units whose axes run over x and y (low, high)."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 440.0
    height: float = 230.0
    left: float = 46.0
    right: float = 12.0
    top: float = 12.0
    bottom: float = 38.0

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        share = (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        return self.left + share * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        """The vertical place of a value."""
        share = (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def axes(self, x_label: str, *, whole: bool = False, rows: bool = True) -> Markup:
        """Grid lines, numbers and the name of the horizontal axis. whole: only whole numbers along it. rows: with a
        vertical axis.
        """
        up = ticks(*self.y) if rows else []
        parts = [self._row(value, up) for value in up]
        columns = ticks(*self.x, wanted=6)
        if whole:
            columns = sorted({float(round(c)) for c in columns if self.x[0] <= round(c) <= self.x[1]})
        floor = self.height - self.bottom
        parts += [
            tag("text", tick_text(c, _step(columns)), x=self.across(c), y=floor + 16, text_anchor="middle")
            for c in columns
        ]
        middle = (self.left + self.width - self.right) / 2
        parts.append(tag("text", x_label, x=middle, y=self.height - 4, text_anchor="middle", class_="axis"))
        return joined(parts)

    def _row(self, value: float, rows: Sequence[float]) -> Markup:
        y = self.up(value)
        line = tag("line", x1=self.left, x2=self.width - self.right, y1=y, y2=y, class_="grid")
        text = tag("text", tick_text(value, _step(rows)), x=self.left - 7, y=y + 3.5, text_anchor="end")
        return line + text

    def drawing(self, parts: Iterable[Markup], title: str) -> Markup:
        """The whole picture, with a name for those who cannot see it."""
        box = f"0 0 {number(self.width)} {number(self.height)}"
        inside = tag("title", title) + joined(parts)
        return tag("svg", inside, viewBox=box, role="img", class_="chart")


def _step(values: Sequence[float]) -> float:
    return values[1] - values[0] if len(values) > 1 else (abs(values[0]) or 1.0) if values else 1.0

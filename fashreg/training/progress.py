"""What a person sees while training: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

_QUIET = 15.0  # seconds between two plain lines


class Progress:
    """`with Progress(total, "label") as progress:` then `step` after each optimiser step and `say` for a line.

    shown: False says nothing at all (other ranks, tests). Output goes to stderr, so that stdout stays for results.
    """

    def __init__(self, total: int, label: str, *, done: int = 0, shown: bool = True) -> None:
        self.total, self.label, self.done, self.shown = total, label, done, shown
        self._bar: Any = None
        self._task: Any = None
        self._last = self._start = time.monotonic()
        self._first = done

    def __enter__(self) -> Self:
        if self.shown and sys.stderr.isatty():
            self._open_bar()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """`done` of `total` steps are done; values: what to show beside the bar (only when there is something new)."""
        self.done = done
        if self._bar is not None:
            said = {} if values is None else {"values": _text(values)}
            self._bar.update(self._task, completed=done, **said)
        elif self.shown and values is not None and time.monotonic() - self._last >= _QUIET:
            self.say(f"step {done:,} of {self.total:,}  {_text(values)}  {self._left()}")

    def say(self, line: str) -> None:
        """One line that stays."""
        self._last = time.monotonic()
        if not self.shown:
            return
        text = f"{self.label}: {line}" if self.label else line
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
        )
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.label or "training", total=self.total, completed=self.done, values="")
        self._bar.start()

    def _left(self) -> str:
        steps = self.done - self._first
        if not steps:
            return ""
        seconds = (time.monotonic() - self._start) / steps * (self.total - self.done)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())

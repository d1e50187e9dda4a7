"""Ctrl-C and SIGTERM while training: the step is finished first, and a second Ctrl-C is obeyed at once."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal after a whole step; `checkpoint`: where it can go on, None without a folder."""

    def __init__(self, message: str, *, checkpoint: Path | None, signal_number: int) -> None:
        super().__init__(message)
        self.checkpoint, self.signal_number = checkpoint, signal_number

    def __str__(self) -> str:
        return str(self.args[0])


class StopRequest:
    """Within the block, SIGINT and SIGTERM set `asked` instead of ending the program; outside the main thread, nothing.

    asked: number of the signal that came, 0 for none.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number

"""Threads that each run torch on one core: for work made of many small steps over independent parts.

Handing every small step to all cores costs more than the step, and on a busy machine each one waits for its slowest
core. So the parts are shared out instead, as many at a time as torch may use cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import torch

T = TypeVar("T")


class Workers:
    """As a context: `each(work, items)` runs work(item) for all items, here when one core or one part is all there is.

    parts: how many items there will be at a time. device: where the tensors are; only the CPU has workers. size: how
    many items are worked on at a time.
    """

    def __init__(self, parts: int, device: torch.device) -> None:
        self.size = max(1, min(parts, torch.get_num_threads())) if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.size > 1:
            cores, together = torch.get_num_threads(), threading.Barrier(self.size + 1)
            self._pool = ThreadPoolExecutor(self.size, "fashreg", initializer=_one_core, initargs=(together,))
            try:
                for _ in range(self.size):
                    self._pool.submit(int)
                together.wait()
            except BaseException:
                together.abort()
                self._pool.shutdown(cancel_futures=True)
                raise
            finally:
                torch.set_num_threads(cores)  # a thread's own number is also what later threads would start with
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """All of them, in any order; the first exception is raised here."""
        if self._pool is None:
            for item in items:
                work(item)
        else:
            for _ in self._pool.map(work, items):
                pass


def _one_core(together: threading.Barrier) -> None:
    torch.get_num_threads()  # a thread takes over the common number once, on its first call; ours must come after
    torch.set_num_threads(1)
    together.wait()

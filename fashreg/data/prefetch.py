"""Work done ahead of need by a few threads, results in order.

Threads, not processes: decoding and resizing leave the interpreter free, nothing is copied between processes, and no
fork can meet a held lock. No torch operation runs in these threads, because each would start a pool of its own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def default_workers() -> int:
    """One thread a processor that this process may use, shared with the other local ranks; 1 to 8."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return min(8, max(1, allowed // max(1, int(ranks) if ranks.isdigit() else 1)))


def in_order(jobs: Iterable[tuple[T, Sequence[Callable[[], None]]]], *, workers: int | None, ahead: int) -> Iterator[T]:
    """Gives each job's first item once all of its pieces have run; at most `ahead` jobs are under way.

    A piece that raises ends the iteration with that error. Leaving the iteration early (break, Ctrl-C) drops what has
    not begun and waits for what has. workers = 0 runs everything in the caller's thread, when it is asked for.
    """
    count = default_workers() if workers is None else workers
    if count < 0 or ahead < 1:
        raise ValueError(f"workers must be >= 0 and ahead >= 1, got {count} and {ahead}")
    if count == 0:
        for item, pieces in jobs:
            for piece in pieces:
                piece()
            yield item
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="fashreg-pictures")
    waiting: deque[tuple[T, list[Future[None]]]] = deque()
    try:
        for item, pieces in jobs:
            waiting.append((item, [pool.submit(piece) for piece in pieces]))
            if len(waiting) >= ahead:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: deque[tuple[T, list[Future[None]]]]) -> T:
    item, futures = waiting.popleft()
    for future in futures:
        future.result()
    return item

"""How benchmarks of speed measure: arms in turns, the rise of the resident set, and what a result says of itself."""

from __future__ import annotations

import contextlib
import ctypes
import math
import platform
import random
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def in_turns(
    arms: Mapping[str, Callable[[], object]],
    rounds: int,
    budget: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds of every arm, which take turns in an order drawn anew every round, so that none always finds the
    cache as another left it. An arm that has taken `budget` seconds is done.
    """
    times: dict[str, list[float]] = {name: [] for name in arms}
    shuffle = random.Random(0)
    for turn in range(rounds + 1):
        for name in shuffle.sample(list(arms), len(arms)):
            if sum(times[name]) > 1000 * budget:
                continue
            start = clock()
            arms[name]()
            seconds = clock() - start
            if turn or seconds > budget / 4:  # the first round warms up, unless it is dear
                times[name].append(1000 * seconds)
    return times


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise SystemExit("memory is read from /proc, which this system does not have; --no-memory leaves it out")


def rise(step: Callable[[], object], times: int = 3) -> float:
    """MiB by which so many steps raise the resident set above what is there before them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was left over must not hide what a step takes
    before, highest = resident("VmRSS"), lambda: resident("VmHWM")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    except OSError:
        highest = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # noqa: E731
        before = highest()
    for _ in range(times):
        step()
    return max(0, highest() - before) / 2**20


def facts(threads: int, **more: Any) -> dict[str, Any]:
    """What a comparison with pytorch-metric-learning was measured with; printed, and kept beside the rows."""
    import pytorch_metric_learning

    found = {
        "torch": torch.__version__,
        "pytorch-metric-learning": pytorch_metric_learning.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": threads,
        **more,
    }
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return found

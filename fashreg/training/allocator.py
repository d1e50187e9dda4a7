"""Keep freed memory within the process: on Linux, half of a network's CPU forward is otherwise page faults.

glibc gives large freed blocks back to the system at once and gets them anew, zeroed page by page, for the next layer.
Told to keep them, an EfficientNet-Lite0 forward at 224 px takes a third of the time (docs: "speed on a CPU").
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST_KEPT = 1 << 30  # bytes; a single block above it is still given back when it is freed
_DEFAULT = 128 * 1024  # bytes; glibc's own thresholds
_declined = False


def keep_freed_memory(wanted: bool = True) -> bool:
    """Ask glibc's malloc to keep freed memory for reuse, for the rest of this process; True when it does.

    wanted: False gives freed memory back again, and embedding will not ask for it any more. Does nothing and returns
    False where it cannot or should not: another C library, FASHREG_KEEP_FREED_MEMORY=0, or an environment that sets
    glibc's malloc itself (MALLOC_*_ or GLIBC_TUNABLES). Safe to call any number of times.
    """
    global _declined
    _declined = not wanted
    mallopt = None if _set_by_user() else _mallopt()
    if mallopt is None:
        return False
    if not wanted:
        mallopt(_M_TRIM_THRESHOLD, _DEFAULT)
        mallopt(_M_MMAP_THRESHOLD, _DEFAULT)
        return False
    trims = mallopt(_M_TRIM_THRESHOLD, -1)
    maps = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) or mallopt(_M_MMAP_MAX, 0)  # older glibc: at most 32 MiB
    return bool(trims and maps)


def keep_unless_declined() -> bool:
    """`keep_freed_memory`, unless it was last called with False."""
    return not _declined and keep_freed_memory()


def _mallopt() -> Callable[[int, int], int] | None:
    try:
        libc = ctypes.CDLL(None)
        mallopt, _ = libc.mallopt, libc.gnu_get_libc_version
    except (OSError, AttributeError, TypeError):
        return None
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    found: Callable[[int, int], int] = mallopt
    return found


def _set_by_user() -> bool:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
    switched_off = os.environ.get("FASHREG_KEEP_FREED_MEMORY", "1") == "0"
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return switched_off or tuned or any(name in os.environ for name in names)

"""Keep freed memory within the process: on Linux, half of a network's CPU forward is otherwise page faults.

glibc gives large freed blocks back to the system at once and gets them anew, zeroed page by page, for the next layer.
Told to keep them, an EfficientNet-Lite0 forward at 224 px takes a third of the time (docs: "speed on a CPU").
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGEST_KEPT = 1 << 30  # bytes; a single block above it is still given back when it is freed


def keep_freed_memory() -> bool:
    """Ask glibc's malloc to keep freed memory for reuse, for the rest of this process; True when it does.

    Does nothing and returns False where it cannot or should not: another C library, FASHREG_KEEP_FREED_MEMORY=0, or
    an environment that sets glibc's malloc itself (MALLOC_*_ or GLIBC_TUNABLES). Safe to call any number of times.
    """
    if os.environ.get("FASHREG_KEEP_FREED_MEMORY", "1") == "0" or _set_by_user():
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt, _ = libc.mallopt, libc.gnu_get_libc_version
    except (OSError, AttributeError, TypeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    trims = mallopt(_M_TRIM_THRESHOLD, -1)
    maps = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT) or mallopt(_M_MMAP_MAX, 0)  # older glibc: at most 32 MiB
    return bool(trims and maps)


def _set_by_user() -> bool:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
    return any(name in os.environ for name in names) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")

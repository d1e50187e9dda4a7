from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
CODE = """
import ctypes, resource, sys
from fashreg.training.allocator import keep_freed_memory, keep_unless_declined
print(keep_freed_memory() if sys.argv[1] != "no" else "not asked")
if sys.argv[1] == "decline":
    assert not keep_freed_memory(False)
    assert not keep_unless_declined()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    place = libc.malloc(48 << 20)
    ctypes.memset(place, 1, 48 << 20)
    libc.free(place)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(ask: str, **environment: str) -> tuple[str, int]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "FASHREG_KEEP"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, ask], capture_output=True, text=True, check=True, env={**inherited, **environment}
    )
    said, count = done.stdout.split("\n")[:2]
    return said, int(count)


@pytest.mark.parametrize(
    ("environment", "asked"),
    [({}, True), ({"FASHREG_KEEP_FREED_MEMORY": "0"}, False), ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False)],
)
def test_freed_memory_is_kept_unless_someone_says_otherwise(environment: dict[str, str], asked: bool) -> None:
    said, count = faults("ask", **environment)
    expected = asked and GLIBC
    assert said == str(expected)
    assert (count < 1000) == expected or not GLIBC  # five times 48 MiB are 61,440 pages of 4 KiB


def test_who_declines_gets_the_old_ways_back_also_when_something_is_embedded() -> None:
    _, count = faults("decline")
    assert count > 1000 or not GLIBC


def test_without_asking_every_large_block_is_faulted_in_anew() -> None:
    _, count = faults("no")
    assert count > 1000 or not GLIBC

"""Somebody who sees what the process does while a stranger's folder is opened: the interpreter's own audit events."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen",
    "pickle.find_class", "socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "ctypes.dlopen",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate", "os.putenv",
    "shutil.rmtree", "shutil.move", "code.__new__", "webbrowser.open",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None or "__pycache__" in str(arguments):
        return
    if event == "import" and str(arguments[0]).startswith(("canary", "evil")):
        _seen.append(f"import {arguments[0]}")
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        _seen.append(f"open {arguments[0]} for writing")
    elif event in _FORBIDDEN:
        _seen.append(f"{event} {str(arguments)[:200]}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What was run, written, fetched or unpickled within the block: nothing, if all is well."""
    global _seen
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


@contextlib.contextmanager
def bounded(*, seconds: int = 60, gibibytes: float = 2.0) -> Iterator[None]:
    """Within the block neither time nor address space is without end (where the system can say so)."""
    if sys.platform != "linux":
        yield
        return
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + int(gibibytes * 2**30), hard))
    before = signal.signal(signal.SIGALRM, _late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _late(number: int, frame: FrameType | None) -> None:
    raise AssertionError("it takes for ever")

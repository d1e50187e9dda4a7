"""One writer a folder. The lock is the operating system's, so it dies with the process that holds it. No torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fashreg.errors import BusyError, ModelError


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for writing by a lock that dies with the process; BusyError when another one holds it."""
    path = folder.with_name(f".{folder.name}.lock")
    handle = _open_lock(path, folder)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _open_lock(path: Path, folder: Path) -> int | None:
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two writers are not told of one another
        return None
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ModelError(f"{folder} cannot be written: {error}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise BusyError(f"another process is writing to {folder}; wait for it, or write elsewhere") from None
        except FileNotFoundError:
            pass
        os.close(handle)  # the other writer removed the file between our open and our lock: again

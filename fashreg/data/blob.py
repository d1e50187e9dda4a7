"""One file of raw bytes with a description at its end, written whole or not at all.

Layout: the bytes, a JSON description, and 48 closing bytes: a mark, the length of the JSON, the sha256 of the JSON.
A process that is killed leaves the file as it was, and beside it a `.part` file that the next one removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fashreg.errors import DataError

_MARK = b"fashreg1"
_TAIL = struct.Struct("<8sQ32s")
_STALE = 3600.0  # seconds after which an unfinished file that nobody writes to is removed


class Blob(NamedTuple):
    """data: (bytes,) uint8, memory-mapped, read-only."""

    description: dict[str, Any]
    data: NDArray[np.uint8]


def key_of(parts: dict[str, Any]) -> str:
    """sha256 of what a file was made from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def refuse_without_room(folder: Path, size: int) -> None:
    """Raises DataError when the disk under a folder cannot take `size` more bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{folder} has {_readable(free)} free and the cache needs {_readable(size)}; free some room, keep the "
            "cache elsewhere with FASHREG_CACHE=FOLDER, or turn it off"
        )


def announcement(what: str, size: int, path: Path) -> str:
    """What a person is told before a cache is written."""
    return f"keeping {what}: {_readable(size)} in {path}"


def write_blob(path: Path, chunks: Iterable[bytes], describe: Callable[[], dict[str, Any]]) -> None:
    """Writes the chunks, then the description, which is asked for after the last chunk; then puts the file in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            size = file.tell()
            text = json.dumps({**describe(), "bytes": size}, sort_keys=True).encode()
            file.write(text + _TAIL.pack(_MARK, len(text), hashlib.sha256(text).digest()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def open_blob(path: Path) -> Blob | None:
    """The file, or None when it is missing, unfinished or damaged."""
    try:
        with open(path, "rb") as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(max(0, total - _TAIL.size))
            mark, length, digest = _TAIL.unpack(file.read())
            if mark != _MARK or length > total - _TAIL.size:
                return None
            file.seek(total - _TAIL.size - length)
            text = file.read(length)
        if hashlib.sha256(text).digest() != digest:
            return None
        description = json.loads(text)
        if description["bytes"] != total - _TAIL.size - length:
            return None
    except (OSError, struct.error, ValueError, KeyError):
        return None
    size = int(description["bytes"])
    data = np.memmap(path, dtype=np.uint8, mode="r", shape=(size,)) if size else np.zeros(0, dtype=np.uint8)
    return Blob(description, data)


def _remove_stale(path: Path) -> None:
    for part in path.parent.glob(f"{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"

"""Small fashreg folders on a local Hub, clocks that do not wait, and sockets that do not open."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fashreg.manifest import write_manifest
from fashreg.testing.local_hub import LocalHub, Repository

WEIGHTS = random.Random(1).randbytes(300_000)
FILES: dict[str, bytes] = {
    "config.json": b'{"small": 1}\n',
    "recipe.yaml": b"seed: 3\n",
    "README.md": b"# A model\n",
    "model.safetensors": WEIGHTS,
}


def folder_of(folder: Path, files: dict[str, bytes] | None = None, *, kind: str = "model") -> Path:
    """A folder with a manifest. The hub's code never looks into the files, so they may say anything."""
    for name, content in (FILES if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_manifest(folder, kind)
    return folder


def content_of(folder: Path, place: str = "") -> dict[str, bytes]:
    """Path in the repository -> content, of every file of a folder."""
    return {f"{place}{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def published(hub: LocalHub, folder: Path, name: str = "ann/bags", **how: Any) -> Repository:
    """A repository that holds a folder, and a licence that fashreg knows nothing of."""
    return hub.create(name, {**content_of(folder), "LICENSE": b"free"}, **how)


def fetched_paths(hub: LocalHub, method: str = "GET") -> list[str]:
    """Names of the files whose content was asked for, in order."""
    return [r.path.rpartition("/")[2] for r in hub.asked("/", method) if not r.path.startswith("/api/")]


class Clock:
    """Stands in for the module `time`: sleeping takes no time and is noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Neither fashreg nor the client waits between two attempts."""
    import huggingface_hub.file_download
    import huggingface_hub.utils._http  # noqa: F401

    clock = Clock()
    for module in ("fashreg.hub.client", "huggingface_hub.file_download", "huggingface_hub.utils._http"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@contextmanager
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block any connection at all fails the test."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a connection was asked for")

    with monkeypatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield

"""Where hostile folders are made: a good folder is copied, and changed as someone would who knows the format."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = Any
Change = Callable[["Workshop"], object]


@dataclass(frozen=True)
class Hostile:
    """One hostile repository. base: the good folder it is made from. says: what the refusal must name (a pattern).

    says = "" where nothing in it is wrong for a loader: then it must load, and do nothing else.
    """

    name: str
    base: str
    change: Change
    says: str


class Workshop:
    """A copy of a good folder. Files are shared with the original until they are written."""

    def __init__(self, base: Path, folder: Path) -> None:
        shutil.copytree(base, folder, copy_function=os.link)
        self.folder = folder

    @property
    def canary(self) -> Path:
        """What must never be there."""
        return self.folder.parent / "canary"

    def put(self, name: str, content: bytes | str, *, listed: bool = True) -> None:
        """Write a file; listed: tell the manifest its true size and sha256."""
        raw = content.encode() if isinstance(content, str) else content
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(raw)
        if listed:
            self.list(name, len(raw), hashlib.sha256(raw).hexdigest())

    def list(self, name: str, size: Any, digest: Any) -> None:
        """What the manifest says of a file."""
        self.manifest(lambda m: m["files"].update({name: {"bytes": size, "sha256": digest}}))

    def manifest(self, change: Callable[[Json], object]) -> None:
        """Change the manifest as an object."""
        content = json.loads((self.folder / "manifest.json").read_text())
        change(content)
        self.put("manifest.json", json.dumps(content), listed=False)

    def json(self, name: str, change: Callable[[Json], object]) -> None:
        """Change a JSON file; a list that `change` returns replaces the whole document."""
        content = json.loads((self.folder / name).read_text())
        changed = change(content)
        self.put(name, json.dumps(changed if isinstance(changed, list) else content))

    def header(self, name: str, change: Callable[[Json], object], body: Callable[[bytes], bytes] = bytes) -> None:
        """Change the header of a safetensors file, and maybe its body."""
        raw = (self.folder / name).read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + size])
        change(header)
        self.put(name, safetensors(header, body(raw[8 + size :])))

    def text_in_header(self, name: str, change: Callable[[str], str]) -> None:
        """Change the header as text."""
        raw = (self.folder / name).read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        text = change(raw[8 : 8 + size].decode())
        self.put(name, safetensors(text.encode(), raw[8 + size :]))

    def rename(self, name: str, other: str) -> None:
        """Give a listed file another name, in the manifest too."""
        content = (self.folder / name).read_bytes()
        self.drop(name)
        self.put(other, content)

    def drop(self, name: str) -> None:
        """Take a file away, and its line in the manifest."""
        (self.folder / name).unlink()
        self.manifest(lambda m: m["files"].pop(name))

    def instead(self, name: str, make: Callable[[Path], object]) -> None:
        """Put something else in the place of a listed file: a link, a pipe, a folder."""
        (self.folder / name).unlink()
        make(self.folder / name)


def safetensors(header: Json, body: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a safetensors file. length: what it claims of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def pickle_of(command: str) -> bytes:
    """A pickle that runs a command in whoever opens it (protocol 0, written by hand)."""
    return b"cos\nsystem\n(S'" + command.encode() + b"'\ntR."


def nested(depth: int, inner: str = "") -> str:
    """JSON lists within lists."""
    return "[" * depth + inner + "]" * depth

"""Whether a file is one that fashreg writes, or a pickle. Looks at names and bytes; nothing is ever opened as such."""

from __future__ import annotations

import zipfile
from pathlib import Path

from fashreg.errors import ModelError
from fashreg.strict_json import parse_json
from fashreg.strict_tensors import read_header

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".msgpack")
_PICTURES = {".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n"}
_TEXTS = (".md", ".yaml", ".jsonl", ".txt")


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or of a format that may carry one, by its name or by its bytes."""
    if path.suffix.lower() in _PICKLES:
        return True
    if path.suffix.lower() == ".safetensors" and _is_read(path):
        return False  # a header of 128 or 640 bytes begins as a pickle does
    try:
        with path.open("rb") as file:
            first = file.read(2)
        if first == b"PK":
            with zipfile.ZipFile(path) as archive:
                return any(name.lower().endswith(_PICKLES) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return len(first) == 2 and first[0] == 0x80 and first[1] <= 5


def not_ours(path: Path) -> str:
    """Why a file is none that fashreg writes, as the end of a sentence; "" for one that is."""
    sort = path.suffix.lower()
    if is_pickle(path):
        return "is a pickle, or may carry one: it can run code where it is read"
    try:
        if sort == ".safetensors":
            read_header(path)
        elif sort == ".json":
            parse_json(path.read_bytes())
        elif sort in _TEXTS:
            _check_text(path)
        elif sort in _PICTURES:
            _check_start(path, _PICTURES[sort])
        else:
            return "is of a sort that fashreg does not write"
    except (ModelError, ValueError, RecursionError):
        return f"does not hold what a {sort} file of fashreg holds"
    return ""


def _is_read(path: Path) -> bool:
    try:
        read_header(path)
    except ModelError:
        return False
    return True


def _check_text(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        while block := file.read(2**20):
            if "\0" in block:
                raise ValueError("a text without NUL was expected")


def _check_start(path: Path, start: bytes) -> None:
    with path.open("rb") as file:
        if file.read(len(start)) != start:
            raise ValueError("not that kind of picture")

"""What a table says of itself: whose protocol it follows and where its pictures start. It travels without a column.

In a DataFrame it is `frame.attrs["fashreg"]`, which pandas keeps in Parquet files too; beside a CSV or TSV file it is
`FILE.fashreg.json`. A table without it is an ordinary table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fashreg.errors import DataError
from fashreg.strict_json import parse_json, write_json

_KEY = "fashreg"
_FIELDS = {"protocol": str, "root": str, "repeats": bool, "cross_modal": bool}
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Official:
    """What an official benchmark's table says of itself.

    protocol: name of the protocol, e.g. "in-shop". root: folder that picture paths start from; in a file it may be
    relative to the file's folder; None: that folder. repeats: a picture may stand in several rows, because a row is a
    query or a candidate of the benchmark rather than a picture. cross_modal: the protocol searches between pictures
    and texts, so a search of pictures by pictures must not call its result by this name.
    """

    protocol: str
    root: str | None = None
    repeats: bool = False
    cross_modal: bool = False


def official_of(frame: pd.DataFrame, name: str) -> Official | None:
    """What the table called `name` says of itself; None for an ordinary table."""
    found = frame.attrs.get(_KEY)
    return None if found is None else _read(found, name)


def mark(frame: pd.DataFrame, official: Official) -> pd.DataFrame:
    """The frame, saying so of itself."""
    frame.attrs[_KEY] = {field: getattr(official, field) for field in _FIELDS if getattr(official, field) is not None}
    return frame


def sidecar_of(path: Path) -> Path:
    """The file that says it for a CSV or TSV file."""
    return path.with_name(f"{path.name}.fashreg.json")


def mark_from_sidecar(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The frame of a CSV or TSV file, marked with what stands beside the file, if anything."""
    beside = sidecar_of(path)
    if not beside.is_file():
        return frame
    try:
        with beside.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        found = parse_json(raw) if len(raw) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{beside}, which belongs to {path.name}, cannot be read: {error}") from error
    if isinstance(found, dict) and set(found) == {_KEY}:
        return mark(frame, _read(found[_KEY], str(beside)))
    raise DataError(f"{beside} does not say what {path.name} is; remove it, or convert the benchmark again")


def ending_of(path: Path) -> str:
    """The file's ending, one of those that a table can be written with."""
    kind = path.suffix.lower()
    if kind not in (".parquet", ".pq", ".csv", ".tsv"):
        raise DataError(f"a table is written as .parquet, .csv or .tsv; {path.name} ends in none of them")
    return kind


def write_table(frame: pd.DataFrame, path: Path) -> Path:
    """Writes a table, and what it says of itself, as Parquet, CSV or TSV by the file's ending; whole or not at all.

    A root folder is written relative to the file, so that both may move together.
    """
    kind = ending_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    official = official_of(frame, "the table")
    if official is not None and official.root is not None:
        root = Path(os.path.relpath(official.root, path.parent)).as_posix()
        frame = mark(frame.copy(deep=False), replace(official, root=root))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if kind in (".parquet", ".pq"):
            frame.to_parquet(fresh, index=False)
        else:
            frame.to_csv(fresh, index=False, sep="\t" if kind == ".tsv" else ",", lineterminator="\n")
            if official is not None:
                write_json(sidecar_of(path), {_KEY: frame.attrs[_KEY]})
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def _read(found: Any, name: str) -> Official:
    """Exactly the known fields with their types."""
    fits = isinstance(found, dict) and isinstance(found.get("protocol"), str) and found["protocol"].strip()
    if not fits or any(type(value) is not _FIELDS.get(field) for field, value in found.items()):
        raise DataError(
            f"{name} names a protocol in a form that this version does not know: {found!r}; convert the benchmark again"
        )
    return Official(**found)

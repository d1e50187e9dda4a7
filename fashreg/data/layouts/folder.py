"""The folder of an official data set: looked into strictly, so that a wrong or partial one is told in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fashreg.errors import DataError


@dataclass(frozen=True)
class Folder:
    """An official folder as one layout reads it. pictures: where a layout may write pictures that it has to unpack."""

    layout: str
    path: Path
    needs: tuple[str, ...]
    pictures: Path | None = None

    def find(self, *names: str) -> Path:
        """The first of these files or folders that is there."""
        for name in names:
            found = self.path / name
            if found.exists():
                return found
        raise DataError(
            f"{self.path} is not a whole {self.layout} folder: {' or '.join(names)} is missing. It must hold "
            f"{', '.join(self.needs)}"
        )

    def fail(self, file: Path, what: str) -> DataError:
        """The error for a file whose content is not what the layout says."""
        return DataError(f"{file} is not as {self.layout} has it: {what}")

    def lines(self, file: Path) -> list[str]:
        """The lines of a text file, empty ones at its end left out."""
        try:
            return file.read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file} cannot be read: {error}") from error

    def table(self, file: Path, header: Sequence[str], *, counted: bool = False) -> Iterator[list[str]]:
        """Rows of a file of words: a header line, and before it their number where `counted`."""
        lines = self.lines(file)
        start = 1 if counted else 0
        if len(lines) <= start or lines[start].split() != list(header):
            raise self.fail(file, f"its header must be `{' '.join(header)}`")
        rows = lines[start + 1 :]
        if counted and lines[0].strip() != str(len(rows)):
            raise self.fail(file, f"it announces {lines[0].strip()} rows and holds {len(rows)}; it may be cut short")
        for number, line in enumerate(rows, start=start + 2):
            words = line.split()
            if len(words) != len(header):
                raise self.fail(file, f"line {number} has {len(words)} words and not {len(header)}")
            yield words

    def json(self, file: Path, kind: type[Any]) -> Any:
        """The content of a JSON file that holds a list, or an object (dict)."""
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{file} cannot be read: {error}") from error
        if not isinstance(content, kind):
            raise self.fail(file, f"it must hold {'a list' if kind is list else 'an object'}")
        return content

    def fields(self, file: Path, entry: Any, where: str, **kinds: Any) -> tuple[Any, ...]:
        """These fields of a JSON object, which must be there with these types."""
        found = []
        for name, kind in kinds.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise self.fail(file, f'{where} has no "{name}" of the right type')
            found.append(value)
        return tuple(found)


@dataclass(frozen=True)
class Converted:
    """What a reader gives. frame: one row per picture, query or candidate. root: where its picture paths start."""

    frame: pd.DataFrame
    root: Path


@dataclass(frozen=True)
class Layout:
    """One official layout and the protocol that its table follows.

    needs: what the folder must hold. repeats: a picture may stand in several rows. unpacks: pictures lie inside other
    files. evaluate: options of `fashreg evaluate` that go with the table. cross_modal: the protocol searches between
    pictures and texts. note: what to know before quoting numbers. source: where it is described.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    read: Callable[[Folder], Converted]
    source: str
    evaluate: str = "--split test"
    note: str = ""
    repeats: bool = False
    unpacks: bool = False
    cross_modal: bool = False

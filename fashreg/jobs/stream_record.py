"""RUN/stream.json: what a stream of experiences gave, one row of the accuracy matrix after each. Read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.strict_json import read_json

STREAM = "stream.json"
FORMAT = 1

Row = tuple[float | None, ...]


@dataclass(frozen=True)
class StreamRecord:
    """The content of stream.json.

    experiences: in the order they come; a run that still goes has fewer rows. columns: whose queries, A of them; the
    experiences, unless one teaches several. map, recall: (T, A), None = not measured. queries, chance: how many, and
    the mean average precision of a random ranking. cost: of each experience on its own, None = not known. summary:
    numbers over the matrix, None = not defined for it. data: column -> sha256 of the rows that its queries come from;
    only where these are equal may rows of two runs stand below one another.
    """

    by: str
    experiences: tuple[str, ...]
    columns: tuple[str, ...]
    judged: str
    queries: Mapping[str, int]
    chance: Mapping[str, float]
    map: tuple[Row, ...]
    recall: tuple[Row, ...]
    cost: tuple[Mapping[str, float] | None, ...]
    summary: Mapping[str, float | None]
    data: Mapping[str, str] = field(default_factory=dict)

    def learnt_in(self, column: str) -> int | None:
        """The row after which a column counts as learnt; None when it was learnt in no row of its own."""
        return self.experiences.index(column) if column in self.experiences else None


def read_record(path: Path) -> StreamRecord:
    """The checked content of a stream.json; ModelError names the file and the field that is wrong."""
    return _Reader(path, read_json(path)).record()


class _Reader:
    def __init__(self, path: Path, content: Any) -> None:
        self.path = path
        if not isinstance(content, dict):
            raise self.wrong("it must hold an object")
        if content.get("format") != FORMAT:
            raise self.wrong(f"format is {content.get('format')!r}, and this fashreg reads format {FORMAT}")
        self.content = content

    def wrong(self, what: str) -> ModelError:
        return ModelError(f"{self.path} cannot be used: {what}")

    def record(self) -> StreamRecord:
        experiences = self._names("experiences")
        queries, chance = self._numbers("queries"), self._numbers("chance")
        columns = experiences if set(queries) == set(experiences) else tuple(queries)
        rows = self._matrix("map", columns, len(experiences))
        recall = self._matrix("recall@1", columns, len(experiences))
        cost = tuple(None if one is None else self._plain("cost", one) for one in self._list("cost"))
        if len(recall) != len(rows) or len(cost) < len(rows):
            raise self.wrong(f"map has {len(rows)} rows, recall@1 {len(recall)}, cost {len(cost)}")
        if set(chance) != set(columns):
            raise self.wrong(f"chance is of {', '.join(chance) or 'nothing'}, queries of {', '.join(columns)}")
        return StreamRecord(
            by=self._text("by"),
            experiences=experiences,
            columns=columns,
            judged=self._text("judged"),
            queries={name: int(number) for name, number in queries.items()},
            chance=chance,
            map=rows,
            recall=recall,
            cost=cost,
            summary=self._summary(),
            data=self._data(),
        )

    def _text(self, field: str) -> str:
        if not isinstance(found := self.content.get(field), str):
            raise self.wrong(f"{field} must be a text, not {found!r}")
        return found

    def _list(self, field: str) -> list[Any]:
        if not isinstance(found := self.content.get(field), list):
            raise self.wrong(f"{field} must be a list, not {found!r}")
        return found

    def _names(self, field: str) -> tuple[str, ...]:
        found = self._list(field)
        if not all(isinstance(name, str) for name in found) or len(set(found)) < len(found):
            raise self.wrong(f"{field} must be different names, not {found!r}")
        return tuple(found)

    def _plain(self, field: str, found: Any) -> dict[str, float]:
        if not isinstance(found, dict) or not all(_is_number(value) for value in found.values()):
            raise self.wrong(f"{field} must be numbers by name, not {found!r}")
        return {name: float(value) for name, value in found.items()}

    def _numbers(self, field: str) -> dict[str, float]:
        return self._plain(field, self.content.get(field))

    def _matrix(self, field: str, columns: Sequence[str], most: int) -> tuple[Row, ...]:
        rows = self._list(field)
        if len(rows) > most:
            raise self.wrong(f"{field} has {len(rows)} rows for {most} experiences")
        for place, row in enumerate(rows):
            fits = isinstance(row, list) and len(row) == len(columns)
            if not fits or not all(value is None or (_is_number(value) and 0 <= value <= 1) for value in row):
                wanted = f"{len(columns)} numbers of 0 to 1 or null, one for each of {', '.join(columns)}"
                raise self.wrong(f"row {place + 1} of {field} must be {wanted}; it is {row!r}")
        return tuple(tuple(None if value is None else float(value) for value in row) for row in rows)

    def _summary(self) -> dict[str, float | None]:
        found = self.content.get("summary")
        if not isinstance(found, dict) or not all(v is None or _is_number(v) for v in found.values()):
            raise self.wrong(f"summary must be numbers by name, not {found!r}")
        return {name: None if value is None else float(value) for name, value in found.items()}

    def _data(self) -> dict[str, str]:
        found = self.content.get("data", {})
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise self.wrong(f"data must be texts by name, not {found!r}")
        return dict(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

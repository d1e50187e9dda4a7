"""Rows that an earlier run measured, to stand above those of the run that goes on from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fashreg.data.table import Table
from fashreg.jobs.stream_record import Row, StreamRecord
from fashreg.jobs.stream_result import StreamResult, summary_of


def judged_data(table: Table, attribute: str) -> str:
    """sha256 over what decides the queries of an attribute: pictures, ids, values, who asks and who is searched."""
    codes, names = table.attributes[attribute]
    digest = hashlib.sha256(b"fashreg judged 1")
    digest.update(table.pictures_fingerprint.encode())
    flags = [None if flag is None else flag.tolist() for flag in (table.query, table.gallery)]
    for part in (table.ids.tolist(), [([*names, ""])[code] for code in codes], *flags):
        digest.update(repr(part).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def carried_rows(earlier: StreamRecord | None, now: StreamRecord, known: Sequence[str]) -> StreamRecord | None:
    """The earlier rows over the columns of `now`, whose rows may follow; None where they may not.

    They may when both runs learn by attribute and every column that was known before (known) was judged on the same
    rows. New columns, and what the table cannot judge any more, are None there. now: its own experiences are the last.
    """
    if earlier is None or not earlier.map or earlier.by != now.by:
        return None
    if any(name not in earlier.data or earlier.data[name] != now.data.get(name) for name in known):
        return None
    new = [name for name in now.experiences if name not in earlier.experiences]
    if not new or len(earlier.map) < len(earlier.experiences):
        return None

    def rows(matrix: Sequence[Row]) -> tuple[Row, ...]:
        named: list[Mapping[str, float | None]] = [dict(zip(earlier.columns, row, strict=True)) for row in matrix]
        return tuple(tuple(row.get(name) if name in known else None for name in now.columns) for row in named)

    return replace(
        now, experiences=earlier.experiences, map=rows(earlier.map), recall=rows(earlier.recall), cost=earlier.cost
    )


def below(result: StreamResult, above: StreamRecord, measured: Mapping[str, tuple[float, float]]) -> StreamResult:
    """The result with the carried rows. measured: column -> (MAP, recall@1), for what the last of them left open."""

    def filled(matrix: tuple[Row, ...], place: int) -> tuple[Row, ...]:
        last = [
            measured[name][place] if value is None and name in measured else value
            for name, value in zip(above.columns, matrix[-1], strict=True)
        ]
        return (*matrix[:-1], tuple(last))

    record = replace(result.record, map=filled(above.map, 0), recall=filled(above.recall, 1), cost=above.cost)
    return replace(result, record=replace(record, summary=summary_of(record)))

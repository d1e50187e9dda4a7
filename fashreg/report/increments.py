"""The section about learning in increments: the accuracy matrix, what it comes to, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fashreg.jobs.stream_record import Row, StreamRecord
from fashreg.report.charts import Chart, Series, line_chart
from fashreg.report.heat_map import Cell, heat_map

_MOST_LINES = 8  # as many as there are colours
_MEANINGS = {
    "final/mean": "MAP after the last increment, every {one} with one voice",
    "final/weighted": "MAP after the last increment, every query with one voice",
    "average_incremental": "mean over the increments of the mean MAP of what was learnt by then",
    "forgetting/max": "best MAP so far minus the last, mean over what was learnt before the last increment",
    "forgetting/last": "MAP right after learning minus the last, mean over the same",
    "backward_transfer": "the last MAP minus that right after learning, mean over the same; below 0: forgotten",
    "forward_transfer": "MAP of an untrained head on what the encoder knew before the increment, minus chance",
}
_COSTS = {
    "tuples": "training tuples",
    "image_passes": "image passes",
    "seconds": "seconds",
    "parameters": "stored parameters",
    "exemplar_bytes": "exemplar bytes",
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix as a table for those who read cell by cell."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]


@dataclass(frozen=True, slots=True)
class Increments:
    """Everything that the section shows. summary: name, value, meaning. costs: a row for each increment and their sum.
    finding: a sentence for the head of the page, or "".
    """

    note: str
    one: str
    map: Chart
    tables: tuple[Matrix, ...]
    summary: tuple[tuple[str, float, str], ...]
    charts: tuple[Chart, ...]
    cost_names: tuple[str, ...]
    costs: tuple[tuple[str, tuple[str, ...]], ...]
    finding: str


def increments_of(record: StreamRecord | None) -> Increments | None:
    """The section for a run that learnt in increments and measured after one at least."""
    if record is None or not record.map:
        return None
    one = "stage" if record.by == "value" else "attribute"
    names = tuple(name for name in _COSTS if any(cost and name in cost for cost in record.cost))
    return Increments(
        note=_note(record, one),
        one=one,
        map=_map(record, one),
        tables=_tables(record),
        summary=tuple(
            (name, value, _MEANINGS.get(name, "").format(one=one))
            for name, value in record.summary.items()
            if value is not None
        ),
        charts=tuple(_curves(record, one)),
        cost_names=tuple(_COSTS[name] for name in names),
        costs=tuple(_costs(record, names)),
        finding=_finding(record),
    )


def _note(record: StreamRecord, one: str) -> str:
    done, of = len(record.map), len(record.experiences)
    so_far = f"{done} of {of} increments are done. " if done < of else ""
    if one == "attribute":
        asked = f"Columns: whose queries, on the {record.judged} split, each attribute with its own head."
    else:
        asked = (
            f"Columns: queries with the values of which stage, on the {record.judged} split, with the vectors of all "
            "heads so far, among the pictures of all values seen so far."
        )
    return f"{so_far}Rows: after which increment. {asked}"


def _map(record: StreamRecord, one: str) -> Chart:
    rows: list[tuple[str, Sequence[Cell | None]]] = [
        (f"after {name}", [_cell(record, place, column) for column in range(len(record.columns))])
        for place, (name, _) in enumerate(zip(record.experiences, record.map, strict=False))
    ]
    chance = [Cell(record.chance[name], mark="apart", said=f"{name}, random ranking") for name in record.columns]
    title = "Mean average precision after each increment"
    note = (
        f"Framed: right after the {one} was learnt; below it, also the change since then. Dashed: before it "
        "was learnt, by a head without training. Chance: a random ranking. Shade: from 0 to 1."
    )
    return Chart(title, heat_map(f"{title}, by {one}", [*rows, ("chance", chance)], record.columns), note=note)


def _cell(record: StreamRecord, row: int, column: int) -> Cell | None:
    value = record.map[row][column]
    if value is None:
        return None
    name, after = record.columns[column], record.experiences[row]
    own = record.learnt_in(name)
    told = f"{name} after {after}: MAP {value:.4f}"
    if (recall := record.recall[row][column]) is not None:
        told += f", recall@1 {recall:.4f}"
    if own is None:
        return Cell(value, said=told)
    if row <= own:
        return Cell(value, mark="own" if row == own else "ahead", said=told)
    first = record.map[own][column]
    return Cell(value, more="" if first is None else _change(value - first), said=told)


def _change(difference: float) -> str:
    """A signed number; one that shows as zero and is not exactly zero keeps its sign."""
    if difference == 0:
        return "±0"
    return f"{'+' if difference > 0 else '−'}{abs(difference):.3f}"


def _tables(record: StreamRecord) -> tuple[Matrix, ...]:
    return tuple(
        Matrix(name, record.columns, tuple(zip(record.experiences, rows, strict=False)))
        for name, rows in (("MAP", record.map), ("recall@1", record.recall))
    )


def _curves(record: StreamRecord, one: str) -> list[Chart]:
    charts = []
    passes = _passes(record)
    means = {name: _means(record, rows) for name, rows in (("MAP", record.map), ("recall@1", record.recall))}
    known: Series = {
        name: _points(passes, values) for name, values in means.items() if any(v is not None for v in values)
    }
    known = {name: points for name, points in known.items() if points[0]}
    if known:
        note = f"Mean over the {one}s learnt by then, after each increment. An image pass is one picture forward; "
        note += "backward counts two more."
        charts.append(line_chart("Precision against cost", known, "image passes so far", dots=True, note=note))
    lines = {name: _points(range(1, len(record.map) + 1), _since(record, c)) for c, name in enumerate(record.columns)}
    lines = {name: points for name, points in lines.items() if points[0]}
    if lines and len(record.map) > 1:
        shown = dict(list(lines.items())[:_MOST_LINES])
        rest = f" Of {len(lines)} {one}s the first {_MOST_LINES} are drawn." if len(lines) > len(shown) else ""
        note = f"From the increment that taught it on.{rest}"
        charts.append(line_chart(f"MAP of each {one}", shown, "increment", dots=True, note=note))
    return charts


def _passes(record: StreamRecord) -> list[float | None]:
    """Image passes up to the end of each increment; None from one on whose cost is not known."""
    total: float | None = 0.0
    found = []
    for place, cost in enumerate(record.cost[: len(record.map)]):
        if place == 0 and _began_later(record):
            found.append(total)
            continue
        total = None if cost is None or total is None or "image_passes" not in cost else total + cost["image_passes"]
        found.append(total)
    return found


def _began_later(record: StreamRecord) -> bool:
    """Whether the first row is what a model knew before this run, whose cost counts from there."""
    return record.cost[0] is None and record.experiences[0] not in record.columns and len(record.experiences) > 1


def _since(record: StreamRecord, column: int) -> list[float | None]:
    """A column from the row on that taught it."""
    own = record.learnt_in(record.columns[column]) or 0
    return [None if place < own else row[column] for place, row in enumerate(record.map)]


def _means(record: StreamRecord, rows: Sequence[Row]) -> list[float | None]:
    """For each row the mean over what was learnt by then."""
    found: list[float | None] = []
    for place, row in enumerate(rows):
        values = [
            value
            for name, value in zip(record.columns, row, strict=True)
            if value is not None and (record.learnt_in(name) or 0) <= place
        ]
        found.append(sum(values) / len(values) if values else None)
    return found


def _points(xs: Sequence[float | None], ys: Sequence[float | None]) -> tuple[list[float], list[float]]:
    pairs = [(float(x), y) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _costs(record: StreamRecord, names: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """What each increment cost, and the sum. What is kept (parameters, exemplars) is not summed: the last is all."""
    done = record.cost[: len(record.map)]
    rows = [(e, tuple(_told(cost, name) for name in names)) for e, cost in zip(record.experiences, done, strict=False)]
    whole = [cost for cost in done if cost is not None]
    if len(whole) < 2 or len(whole) < len(done) - _began_later(record):
        return rows
    kept = ("parameters", "exemplar_bytes")
    total = {n: whole[-1].get(n, 0.0) if n in kept else sum(cost.get(n, 0.0) for cost in whole) for n in names}
    return [*rows, ("together", tuple(_told(total, name) for name in names))]


def _told(cost: Mapping[str, float] | None, name: str) -> str:
    return "–" if cost is None or name not in cost else f"{cost[name]:,.0f}"


def _finding(record: StreamRecord) -> str:
    """What was lost most since it was learnt."""
    lost = []
    for column, name in enumerate(record.columns):
        own = record.learnt_in(name)
        if own is None or own >= len(record.map) - 1:
            continue
        first, last = record.map[own][column], record.map[-1][column]
        if first is not None and last is not None:
            lost.append((first - last, name, first, last))
    if not lost:
        return ""
    most, name, first, last = max(lost)
    if most <= 0:
        return "Nothing that was learnt earlier was forgotten: no MAP fell"
    return f"Most forgotten: {name}, MAP {first:.3f} when learnt, {last:.3f} at the end"

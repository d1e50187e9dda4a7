"""What a stream of experiences gave, as it is written to RUN/stream.json and shown on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from fashreg.functional import continual
from fashreg.jobs.stream_record import FORMAT, Row, StreamRecord
from fashreg.training.cost import Cost
from fashreg.training.session import LearnReport


@dataclass(frozen=True)
class StreamResult:
    """The accuracy matrix and what it cost. record: as stream.json holds it. reports: of every experience learned."""

    record: StreamRecord
    reports: tuple[LearnReport, ...] = field(default=(), repr=False)

    @property
    def numbers(self) -> dict[str, float]:
        """Average incremental, final, forgetting and transfer; NaN for what this matrix does not define."""
        record = self.record
        return {name: math.nan if value is None else value for name, value in record.summary.items()}

    def with_row(
        self, values: Mapping[str, tuple[float, float]], cost: Cost | None, report: LearnReport | None = None
    ) -> Self:
        """One more row. values: column -> (MAP, recall@1), for those that were measured."""
        record = self.record

        def row(place: int) -> Row:
            return tuple(values[name][place] if name in values else None for name in record.columns)

        longer = replace(
            record,
            map=(*record.map, row(0)),
            recall=(*record.recall, row(1)),
            cost=(*record.cost, None if cost is None else cost.as_dict()),
        )
        reports = self.reports if report is None else (*self.reports, report)
        return replace(self, record=replace(longer, summary=summary_of(longer)), reports=reports)

    def as_dict(self) -> dict[str, Any]:
        """The content of stream.json."""
        record = self.record
        return {
            "format": FORMAT,
            "by": record.by,
            "experiences": list(record.experiences),
            "judged": record.judged,
            "queries": {name: record.queries[name] for name in record.columns},
            "chance": {name: record.chance[name] for name in record.columns},
            "map": [list(row) for row in record.map],
            "recall@1": [list(row) for row in record.recall],
            "cost": [None if one is None else dict(one) for one in record.cost],
            "summary": dict(record.summary),
            "data": dict(record.data),
        }

    def summary(self) -> str:
        """The matrix of MAP, what it comes to, and what it cost, for a terminal."""
        record = self.record
        width = max(8, *(len(name) for name in record.columns)) + 2
        side = max(5, *(len(name) for name in record.experiences)) + 2
        head = "".join(name.rjust(width) for name in record.columns) + "image passes".rjust(14) + "seconds".rjust(9)
        lines = [f"MAP on {record.judged} after each experience (in brackets: before it was learnt)"]
        lines.append("after".ljust(side) + head)
        for t, (name, row) in enumerate(zip(record.experiences, record.map, strict=False)):
            cells = "".join(self._cell(t, a, value).rjust(width) for a, value in enumerate(row))
            cost = record.cost[t] or {}
            passes = f"{cost['image_passes']:,.0f}" if cost else ""
            lines.append(
                name.ljust(side) + cells + passes.rjust(14) + (f"{cost['seconds']:.0f}" if cost else "").rjust(9)
            )
        lines.append("chance".ljust(side) + "".join(f"{record.chance[n]:.4f}".rjust(width) for n in record.columns))
        lines += [f"  {name:<20}{value:>8.4f}" for name, value in record.summary.items() if value is not None]
        return "\n".join(lines)

    def _cell(self, row: int, column: int, value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.4f}" if learnt_rows(self.record)[column] <= row else f"({value:.4f})"


def learnt_rows(record: StreamRecord) -> list[int]:
    """The row after which each column counts as learnt: that of its name, else the first."""
    return [record.experiences.index(name) if name in record.experiences else 0 for name in record.columns]


def summary_of(record: StreamRecord) -> dict[str, float | None]:
    """The numbers over the rows that are there, None where one is not defined."""
    if not record.map:
        return {}
    own, m = learnt_rows(record), record.map
    queries = [float(record.queries[name]) for name in record.columns]
    chance = [record.chance[name] for name in record.columns]
    found = {
        "final/mean": continual.final(m, learnt=own),
        "final/weighted": continual.final(m, queries, learnt=own),
        "average_incremental": continual.average_incremental(m, learnt=own),
        "forgetting/max": continual.forgetting(m, "max", learnt=own),
        "forgetting/last": continual.forgetting(m, "last", learnt=own),
        "backward_transfer": continual.backward_transfer(m, learnt=own),
        "forward_transfer": continual.forward_transfer(m, chance, learnt=own),
    }
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def joined_report(reports: Sequence[LearnReport]) -> LearnReport:
    """All experiences as one: what adds up, added; the metrics of the last."""
    last = reports[-1]
    seconds, images = sum(r.seconds for r in reports), sum(r.images for r in reports)
    cost = sum((Cost.from_dict(r.cost) for r in reports), Cost())
    return LearnReport(
        experience=", ".join(r.experience for r in reports),
        steps=sum(r.steps for r in reports),
        epochs=sum(r.epochs for r in reports),
        images=images,
        seconds=seconds,
        images_per_second=images / seconds if seconds else 0.0,
        metrics=dict(last.metrics),
        best=last.best,
        best_step=last.best_step,
        stopped_early=any(r.stopped_early for r in reports),
        history=[{"experience": r.experience, **line} for r in reports for line in r.history],
        cost=cost.as_dict(),
    )

"""Learning a stream: one experience after another, and after each a row of the accuracy matrix, written at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.jobs.stream_carry import below, carried_rows, judged_data
from fashreg.jobs.stream_judging import Judge
from fashreg.jobs.stream_record import STREAM, StreamRecord, read_record
from fashreg.jobs.stream_result import StreamResult
from fashreg.strict_json import write_json
from fashreg.training.cost import Cost
from fashreg.training.new_tasks import add_heads
from fashreg.training.session import LearnReport, Session
from fashreg.values import Experience

BEFORE = "before"

Values = dict[str, tuple[float, float]]


def learning_steps(learner: Any, experiences: Sequence[Experience]) -> list[Experience]:
    """What the learner is given, one after the other: the experiences, or all as one where it asks for that."""
    if getattr(learner, "whole_stream", False) and len(experiences) > 1:
        return [Experience("all", None, parts=tuple(experiences))]
    return list(experiences)


@dataclass
class Stream:
    """A stream that is being learned. judged: what the judge's pictures are called. before: what the run measured that
    is learned on from; its rows stand above where they were judged on the same pictures.
    """

    session: Session
    learner: Any
    experiences: Sequence[Experience]
    judge: Judge
    judged: str
    before: StreamRecord | None = None

    @property
    def earlier(self) -> list[str]:
        """Columns that the model knew before."""
        return self.judge.names[: len(self.judge.columns) - len(self.experiences)]

    def learn(self) -> StreamResult:
        """Learn everything, or go on where the run folder stands. The learner is bound, and has taken up its state."""
        steps = learning_steps(self.learner, self.experiences)
        finished = set(getattr(self.learner, "finished", ()))
        result, kept = self._empty(steps), self._kept(steps) if finished else None
        learnt = list(self.earlier)
        if self.earlier:
            result = self._begun(result, kept, self._names(steps[0])[0])
        for place, step in enumerate(steps):
            report = self._learned(step)
            row = len(result.record.map)
            learnt += self._names(step)
            coming = self._names(steps[place + 1])[0] if place + 1 < len(steps) else None
            if step.name in finished:
                if kept is None or len(kept.map) <= row:
                    raise ModelError(
                        f"{self._path} lacks the row of {step.name!r}, which was learned before and cannot be measured "
                        "any more: put the file back, or train anew in another folder"
                    )
                result = result.with_row(self._row(kept, row, dict), _cost_of(kept, row), report)
            else:
                measured = self._measured(learnt, coming)
                result = result.with_row(measured, self.session.cost.of(step.name), report)
                self._keep(result)
                self._say(result)
        return result

    def _begun(self, result: StreamResult, kept: StreamRecord | None, coming: str) -> StreamResult:
        """What was known before: the earlier run's rows, or one row that is measured now; with what comes next."""
        above = carried_rows(self.before, result.record, self.earlier)
        if above is None and self.before is not None and self.session.processes.first and not self.session.quiet:
            print(f"note: these are other pictures than before, so the matrix starts anew, with a row {BEFORE!r}")
        row = 0 if above is None else len(above.map) - 1
        values = self._row(kept, row, lambda: self._measured(self.earlier, coming))
        return result.with_row(values, None) if above is None else below(result, above, values)

    def _learned(self, step: Experience) -> LearnReport:
        self.session.cost.begin(step.name)
        add_heads(self.session.encoder, step)
        report: LearnReport = self.learner.learn(step)
        return report

    def _measured(self, learnt: Sequence[str], coming: str | None) -> Values:
        """On the first process, for all."""
        processes = self.session.processes
        values = self.judge.row(self.session.encoder, learnt, coming) if processes.first else None
        found: Values = processes.from_first(values)
        return found

    def _names(self, step: Experience) -> list[str]:
        return [part.name for part in step.parts] or [step.name]

    # ---- RUN/stream.json ----

    @property
    def _path(self) -> Path | None:
        return None if self.session.folder is None else self.session.folder.path / STREAM

    def _empty(self, steps: Sequence[Experience]) -> StreamResult:
        stream = self.judge.recipe.stream
        assert stream is not None
        columns = self.judge.columns
        fresh = StreamRecord(
            by=stream.by,
            experiences=tuple(step.name for step in steps),
            columns=tuple(column.name for column in columns),
            judged=self.judged,
            queries={column.name: column.queries for column in columns},
            chance={column.name: column.chance for column in columns},
            map=(),
            recall=(),
            cost=(),
            summary={},
            data={column.name: judged_data(self.judge.table, column.attribute) for column in columns},
        )
        if not self.earlier:
            return StreamResult(fresh)
        above = carried_rows(self.before, fresh, self.earlier)
        first = (BEFORE,) if above is None else above.experiences
        return StreamResult(replace(fresh, experiences=(*first, *fresh.experiences)))

    def _kept(self, steps: Sequence[Experience]) -> StreamRecord | None:
        """What an interrupted run wrote; ModelError when it belongs to other experiences or pictures."""
        path, fresh = self._path, self._empty(steps).record
        if path is None or not path.exists():
            return None
        kept = read_record(path)
        for field in ("by", "experiences", "columns", "queries", "data"):
            if getattr(kept, field) != getattr(fresh, field):
                raise ModelError(
                    f"{path} is of another stream (different: {field}); give the same recipe and table to go on with "
                    "it, or choose another folder"
                )
        return kept

    def _row(self, kept: StreamRecord | None, row: int, otherwise: Callable[[], Values]) -> Values:
        if kept is None or len(kept.map) <= row:
            return otherwise()
        pairs = zip(kept.columns, kept.map[row], kept.recall[row], strict=True)
        return {name: (one, other) for name, one, other in pairs if one is not None and other is not None}

    def _keep(self, result: StreamResult) -> None:
        folder = self.session.folder
        if folder is not None and folder.writes:
            write_json(folder.path / STREAM, result.as_dict())

    def _say(self, result: StreamResult) -> None:
        record = result.record
        if self.session.processes.first and not self.session.quiet:
            known = [f"{n} {v:.4f}" for n, v in zip(record.columns, record.map[-1], strict=True) if v is not None]
            print(f"MAP after {record.experiences[len(record.map) - 1]}: {', '.join(known)}", flush=True)


def _cost_of(record: StreamRecord, row: int) -> Cost | None:
    spent = record.cost[row]
    return None if spent is None else Cost.from_dict(spent)

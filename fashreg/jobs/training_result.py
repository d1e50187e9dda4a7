"""What training leaves, and what it would do: as data, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fashreg.config import Recipe
from fashreg.encoder import Encoder
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.parts import Parts
from fashreg.jobs.stream_result import StreamResult
from fashreg.jobs.tables import Tables
from fashreg.jobs.task_parts import cut_texts
from fashreg.jobs.task_tables import TaskTables
from fashreg.training.session import LearnReport


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves: the encoder with the weights that were kept, and what was measured.

    before, after: on the test split where the table has one, else on validation; None without either. folder: None when
    nothing was written. stream: what came of each experience of a stream, whose reports `report` adds up; None without.
    tasks, tasks_before: task -> the same, for a recipe with tasks; before and after are then None.
    """

    encoder: Encoder
    report: LearnReport
    before: Evaluation | None
    after: Evaluation | None
    folder: Path | None
    stream: StreamResult | None = None
    tasks: Mapping[str, Evaluation] = field(default_factory=dict)
    tasks_before: Mapping[str, Evaluation] = field(default_factory=dict)

    def __repr__(self) -> str:  # a notebook prints it
        return f"TrainedRun(folder={None if self.folder is None else str(self.folder)!r}):\n{self.summary()}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "run": None if self.folder is None else str(self.folder),
            "model": None if self.folder is None else str(self.folder / "model"),
            "before": None if self.before is None else self.before.as_dict(),
            "after": None if self.after is None else self.after.as_dict(),
            "training": self.report.as_dict(),
            **({} if self.stream is None else {"stream": self.stream.as_dict()}),
            **{
                name: {task: found.as_dict() for task, found in several.items()}
                for name, several in (("tasks", self.tasks), ("tasks_before", self.tasks_before))
                if several
            },
        }

    def summary(self) -> str:
        """A table for a terminal: each metric before and after."""
        report = self.report
        lines = [f"{report.steps} steps in {report.seconds:.0f} s ({report.images_per_second:.0f} images/s)"]
        if self.before is not None and self.after is not None:
            lines += _compared(self.before, self.after)
        for task, after in self.tasks.items():
            lines += _compared(self.tasks_before.get(task), after, f"{task}: ")
        if self.stream is not None:
            lines.append(self.stream.summary())
        if self.folder is not None:
            lines.append(f"model: {self.folder / 'model'}")
        return "\n".join(lines)


def _compared(before: Evaluation | None, after: Evaluation, name: str = "") -> list[str]:
    first = {} if before is None else before.metrics
    wide = max(16, *(len(metric) + 1 for metric in after.metrics))
    return [
        f"{name}{after.protocol.source}: {after.protocol.rule}",
        f"  {'':<{wide}}{'before':>8}{'after':>8}",
        *(f"  {n:<{wide}}{first.get(n, float('nan')):>8.4f}{v:>8.4f}" for n, v in after.metrics.items()),
    ]


@dataclass(frozen=True)
class Plan:
    """A recipe that was checked down to its pictures, with the parts built."""

    recipe: Recipe
    tables: Tables
    parts: Parts

    def describe(self) -> str:
        """What would be trained, for a terminal."""
        tables, parts = self.tables, self.parts
        lines = [] if tables.tasks else _splits(tables)
        for name, task in tables.tasks.items():
            lines.append(f"task {name} ({task.kind}): {', '.join(_splits(task))}")
        counts = {n: sum(p.numel() for p in getattr(parts, n).parameters()) for n in ("encoder", "loss")}
        lines.append(f"encoder: {counts['encoder']:,} parameters, embeddings of {parts.encoder.embed_dim} numbers")
        if self.recipe.loss is not None:
            lines.append(f"loss: {self.recipe.loss.name}, {counts['loss']:,} parameters of its own")
        lines.append(f"batches an epoch: {parts.batches}, epochs: {self.recipe.trainer.epochs}")
        if self.recipe.stream is not None:
            for step in tables.experiences:
                size, values = len(step.train), step.train.num_classes
                lines.append(
                    f"experience {step.name}: {size} pictures, {values} values, {len(parts.sampler_of(step))} batches"
                )
        told = (*tables.warnings, *cut_texts(tables.tasks, parts.encoder.backbone))
        return "\n".join([*lines, *(f"note: {w}" for w in told)])


def _splits(tables: Tables | TaskTables) -> list[str]:
    lines = [f"train: {len(tables.train)} pictures, {tables.train.num_classes} classes"]
    for name, table in (("validation", tables.validation), ("test", tables.test)):
        lines.append(f"{name}: " + (f"{len(table)} pictures, {table.num_classes} classes" if table else "none"))
    return lines

"""A run that learned several tasks: what each can do now, and where its own page is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.jobs.evaluation_result import Evaluation

TASKS, BEFORE, FOLDER = "tasks", "tasks_before", "evaluation-"


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric with what is known of it."""

    name: str
    value: float
    interval: tuple[float, float] | None
    before: float | None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task. rows: its metrics, the primary one first. page: the file name of its own page, "" where none is."""

    name: str
    rule: str
    source: str
    queries: int
    primary: str
    rows: tuple[MetricRow, ...]
    page: str = ""


def metric_rows(evaluation: Evaluation, before: Mapping[str, float]) -> list[MetricRow]:
    """Every metric, the primary one first."""
    rows = [
        MetricRow(name, value, evaluation.intervals.get(name), before.get(name))
        for name, value in evaluation.metrics.items()
    ]
    return sorted(rows, key=lambda row: row.name != evaluation.primary)


def read_tasks(results: Mapping[str, Any], path: Path) -> dict[str, tuple[Evaluation, Mapping[str, float]]]:
    """Task -> what it does after training, and its metrics before; {} for a run without tasks."""
    after, before = (results.get(key) or {} for key in (TASKS, BEFORE))
    try:
        return {
            str(name): (Evaluation.from_dict(found), (before.get(name) or {}).get("metrics") or {})
            for name, found in after.items()
        }
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: {error}") from error


def task_results(
    tasks: Mapping[str, tuple[Evaluation, Mapping[str, float]]], pages: Mapping[str, str]
) -> list[TaskResult]:
    """One for each task. pages: task -> file name of its page."""
    return [
        TaskResult(
            name,
            found.protocol.rule,
            found.protocol.source,
            found.counts.get("queries", 0),
            found.primary,
            tuple(metric_rows(found, before)),
            pages.get(name, ""),
        )
        for name, (found, before) in tasks.items()
    ]

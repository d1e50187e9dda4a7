"""What a run with several tasks measures before and after, task by task, and where it keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fashreg.jobs.evaluation import Asking, Evaluation
from fashreg.jobs.evaluation_folder import KIND, save_evaluation
from fashreg.jobs.parts import Parts
from fashreg.jobs.task_parts import evaluate_task
from fashreg.jobs.task_tables import TaskTables
from fashreg.strict_json import read_json


def measured_tasks(parts: Parts, tables: Mapping[str, TaskTables], *, details: bool = True) -> dict[str, Evaluation]:
    """Task -> what it does on its test rows, else on its validation rows; tasks without either are left out."""
    found = {}
    for name, task in tables.items():
        table, split = task.judged
        if table is not None:
            asking = Asking(split=split, details=details)
            found[name] = evaluate_task(parts.encoder, table, parts.tasks[name], asking=asking)
    return found


def save_tasks(tasks: Mapping[str, Evaluation], run: Path) -> None:
    """An evaluation folder for each task, RUN/evaluation-TASK."""
    for name, found in tasks.items():
        save_evaluation(found, run / f"{KIND}-{name}")


def earlier_tasks(path: Path | None) -> dict[str, Evaluation]:
    """What an interrupted run measured before its first step, by its results.json."""
    if path is None or not path.is_file():
        return {}
    before = read_json(path).get("tasks_before") or {}
    return {name: Evaluation.from_dict(found) for name, found in before.items()}

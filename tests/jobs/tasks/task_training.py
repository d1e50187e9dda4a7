"""Training the task shop's tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from task_shop import task_recipe

import fashreg
from fashreg.jobs.training import TrainedRun

FOUR = {
    "cross-modal": "cross-modal",
    "find": "composed",
    "classification": "classification",
    "captioning": "captioning",
}


def train(table: Path, out: Path | None = None, *, resume: bool = False, **changes: Any) -> TrainedRun:
    given = {name: changes.pop(name) for name in list(changes) if isinstance(changes[name], type)}
    return fashreg.train(task_recipe(table, **changes), out=out, resume=resume, quiet=True, **given)

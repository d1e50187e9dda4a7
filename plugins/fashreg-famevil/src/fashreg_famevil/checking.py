"""What options of the learner cannot be, by themselves and beside the tasks that are learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fashreg.errors import RecipeError
from fashreg.hub.address import hub_hint, is_address

SCHEDULES = ("size-proportional", "uniform", "round-robin")
LEARNS = ("trained", "frozen")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """ValueError for what is none of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """ValueError for what lies outside."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least:g} to {most:g}, got {value}")


def check_above(name: str, values: Mapping[str, float] | None, least: float) -> None:
    """ValueError for a task whose number is not above it."""
    for task, value in (values or {}).items():
        if not value > least:
            raise ValueError(f"{name} of task {task!r} must be above {least:g}, got {value}")


def check_backbone(backbone: Any) -> None:
    """RecipeError for one without texts and tasks."""
    if not hasattr(backbone, "kinds") or not hasattr(backbone, "trunk"):
        raise RecipeError(
            f"learner multi-task needs a backbone with texts and tasks, and {type(backbone).__name__} is none: "
            "--set backbone=fame-vil",
            field="backbone",
        )


def check_named(options: Mapping[str, Mapping[str, Any] | None], tasks: Iterable[str]) -> None:
    """RecipeError for an option that names a task which is not learnt."""
    known = list(tasks)
    for option, given in options.items():
        for task in given or {}:
            if task not in known:
                raise RecipeError(
                    f"learner.{option} names task {task!r}; the tasks are {', '.join(known)}",
                    field=f"learner.{option}.{task}",
                )


def check_places(teachers: Mapping[str, str]) -> None:
    """RecipeError for a teacher that is no folder here and no name on the Hub."""
    for task, place in teachers.items():
        if not Path(place).is_dir() and not is_address(place):
            raise RecipeError(
                f"the teacher of task {task!r} is to be in {place}, and there is no such folder{hub_hint(place)}",
                field=f"learner.teachers.{task}",
            )


def check_impartial(impartial: bool, accumulate: int, tasks: Sequence[str]) -> None:
    """RecipeError unless an impartial step has one batch of each task."""
    if impartial and accumulate != len(tasks):
        raise RecipeError(
            f"learner.impartial mixes one batch of each of {len(tasks)} tasks: --set trainer.accumulate={len(tasks)}",
            field="trainer.accumulate",
        )


def check_adaptive(adaptive: bool, evaluate_every: int) -> None:
    """RecipeError where nothing would be measured that scales could come from."""
    if adaptive and evaluate_every == 0:
        raise RecipeError(
            "learner.adaptive scales gradients by what is measured while training, and trainer.evaluate_every is 0: "
            "--set trainer.evaluate_every=1",
            field="trainer.evaluate_every",
        )

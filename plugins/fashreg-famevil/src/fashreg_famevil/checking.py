"""What options of the learner cannot be, by themselves and beside the tasks that are learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fashreg.errors import RecipeError

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


def check_impartial(accumulate: int, tasks: Sequence[str]) -> None:
    """RecipeError unless a step has one batch of each task."""
    if accumulate != len(tasks):
        raise RecipeError(
            f"learner.impartial mixes one batch of each of {len(tasks)} tasks: --set trainer.accumulate={len(tasks)}",
            field="trainer.accumulate",
        )

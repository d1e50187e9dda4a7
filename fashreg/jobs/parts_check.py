"""What the parts of a run need of one another and of the data, said before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fashreg.config import Recipe
from fashreg.errors import RecipeError
from fashreg.jobs.tables import Tables
from fashreg.jobs.task_parts import check_judges, check_tasks
from fashreg.training.schedule import total_steps

if TYPE_CHECKING:
    from fashreg.jobs.parts import Parts


def check_together(recipe: Recipe, tables: Tables, parts: Parts) -> None:
    """RecipeError for the first thing that does not go together."""
    if tables.tasks:
        check_tasks(tables.tasks, parts.learner)
        if hasattr(parts.learner, "check_tasks"):
            parts.learner.check_tasks(list(tables.tasks), recipe.trainer)
        check_judges(parts.tasks)
    else:
        _check_needs(recipe, tables, parts)
    if not getattr(parts.loss, "moves_batch", True):
        raise RecipeError(
            f"loss {_name(recipe)} moves its own parameters only, so the encoder would learn nothing: name it as"
            " a part of a loss that takes parts, or choose another",
            field="loss",
        )
    if parts.memory is not None:
        _check_memory(recipe, parts)


def _check_needs(recipe: Recipe, tables: Tables, parts: Parts) -> None:
    train = tables.train
    has = {
        "second_view": True,
        "texts": train.texts is not None,
        "targets": train.targets is not None and all(train.targets),
        "attributes": bool(train.attributes),
    }
    columns = {
        "texts": "data.text=COLUMN",
        "targets": "data.target=COLUMN",
        "attributes": "data.attributes=[COLUMN, ...]",
    }
    for need in sorted(parts.needs):
        who = "loss" if need in parts.loss.needs else "learner"
        name = _name(recipe) if who == "loss" else repr(recipe.learner.name)
        if need == "targets" and train.targets is not None and not has[need]:
            raise RecipeError(
                f"{who} {name} needs a target picture in every row, and {train.targets.count('')} training rows have "
                "none: leave these rows out",
                field="data.target",
            )
        if not has.get(need, False):
            raise RecipeError(
                f"{who} {name} needs {need}, and the recipe names none: --set {columns.get(need, need)}", field=who
            )
    if "targets" in parts.needs and recipe.trainer.cache == "features":
        raise RecipeError(
            "target pictures are varied anew every time, and kept features are of the pictures alone: --set "
            "trainer.cache=none",
            field="trainer.cache",
        )


def _check_memory(recipe: Recipe, parts: Parts) -> None:
    if not parts.loss.accepts_references:
        raise RecipeError(
            f"loss {_name(recipe)} compares with its own proxies only and cannot use a memory: --set memory=null, "
            "or choose a loss over pairs",
            field="memory",
        )
    steps = total_steps(recipe.trainer, parts.batches)
    start = 0 if parts.memory is None else parts.memory.start_step
    if start >= steps:
        raise RecipeError(
            f"memory.start_step is {start} and the run has {steps} steps, so the memory would never be used: "
            f"--set memory.start_step={steps // 10}, or --set memory=null",
            field="memory.start_step",
        )


def _name(recipe: Recipe) -> str:
    return repr("given" if recipe.loss is None else recipe.loss.name)

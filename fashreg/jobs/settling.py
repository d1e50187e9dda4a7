"""What a recipe leaves open because other parts of it decide: the loss, and what tasks bring along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashreg import registry
from fashreg.config import ComponentConfig, Recipe
from fashreg.config_tasks import kind_of, kinds_of
from fashreg.errors import FashregError, RecipeError

_DEFAULT = ["retrieval"]


def settled(recipe: Recipe, objects: Mapping[str, Any]) -> Recipe:
    """The recipe with nothing left open; RecipeError where parts contradict one another.

    A learner with `own_loss` has no other loss. Several tasks need a learner with `tasks_of_kinds`; each is measured by
    its own evaluator, and the sampler is `random` where none is named. objects: ready objects and classes by field.
    """
    learner = _learner(recipe, objects)
    changes = _loss(recipe, objects, learner)
    if recipe.tasks is not None:
        _check_learner(recipe, learner)
        changes |= _of_tasks(recipe, objects)
    elif getattr(learner, "own_loss", False) and hasattr(learner, "tasks_of_kinds"):
        raise RecipeError(
            f"learner {recipe.learner.name!r} learns the recipe's tasks, and there are none: name them, e.g. "
            "--set 'tasks={cross-modal: {data: {text: COLUMN}}}'",
            field="tasks",
        )
    return recipe.model_copy(update=changes) if changes else recipe


def task_evaluators(recipe: Recipe) -> dict[str, ComponentConfig]:
    """Task -> what measures it."""
    tasks = recipe.tasks or {}
    return {name: task.evaluator or ComponentConfig(name=kind_of(name, task)) for name, task in tasks.items()}


def _learner(recipe: Recipe, objects: Mapping[str, Any]) -> Any:
    """The learner or its class; None where it is not found, which is told where the recipe is checked."""
    if "learner" in objects:
        return objects["learner"]
    try:
        return registry.find_class("learner", recipe.learner.name)
    except FashregError:
        return None


def _loss(recipe: Recipe, objects: Mapping[str, Any], learner: Any) -> dict[str, Any]:
    if not getattr(learner, "own_loss", False):
        if recipe.loss is None and "loss" not in objects and learner is not None:
            raise RecipeError(
                f"learner {recipe.learner.name!r} needs a loss: --set loss=multi-similarity", field="loss"
            )
        return {}
    if "loss" in objects or ("loss" in recipe.model_fields_set and recipe.loss is not None):
        raise RecipeError(
            f"learner {recipe.learner.name!r} has a loss of its own: leave loss out, or --set loss=null", field="loss"
        )
    if recipe.memory is not None or "memory" in objects:
        raise RecipeError(
            f"learner {recipe.learner.name!r} has a loss of its own, which uses no memory: --set memory=null",
            field="memory",
        )
    return {"loss": None}


def _check_learner(recipe: Recipe, learner: Any) -> None:
    able = getattr(learner, "tasks_of_kinds", None)
    if learner is None:
        return
    if able is None:
        raise RecipeError(
            f"learner {recipe.learner.name!r} does not learn several tasks at once: --set learner=multi-task (plugin "
            "fashreg-famevil: pip install fashreg-famevil)",
            field="learner",
        )
    for name, kind in kinds_of(recipe.tasks).items():
        if kind not in able:
            raise RecipeError(
                f"tasks.{name} is of kind {kind}, and learner {recipe.learner.name!r} learns {', '.join(sorted(able))}",
                field=f"tasks.{name}.kind",
            )


def _of_tasks(recipe: Recipe, objects: Mapping[str, Any]) -> dict[str, Any]:
    """What tasks decide, and what they exclude."""
    own = list({item.model_dump_json(): item for item in task_evaluators(recipe).values()}.values())
    given = [item.name for item in recipe.evaluators]
    if "evaluators" in objects or (given != _DEFAULT and recipe.evaluators != own):
        raise RecipeError(
            "each task is measured by an evaluator of its own: leave evaluators out, and set tasks.NAME.evaluator",
            field="evaluators",
        )
    if recipe.rerankers or "rerankers" in objects:
        raise RecipeError("tasks are measured without re-ranking: --set 'rerankers=[]'", field="rerankers")
    if recipe.trainer.cache == "features":
        raise RecipeError(
            "pictures pass the trunk with their texts, and in another way for each task, so nothing can be cached: "
            "--set trainer.cache=none",
            field="trainer.cache",
        )
    ready = hasattr(objects.get("sampler"), "set_epoch") and not isinstance(objects["sampler"], type)
    if ready:
        raise RecipeError("a ready sampler belongs to one table, and every task has its own: give its name or class")
    named = "sampler" in recipe.model_fields_set or "sampler" in objects
    return {"evaluators": own, **({} if named else {"sampler": ComponentConfig(name="random")})}

"""What a stream needs of the recipe's other parts, said before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashreg.config import Recipe
from fashreg.errors import FashregError, RecipeError
from fashreg.jobs.parts import Parts
from fashreg.jobs.stream_judging import Judge, judge_of
from fashreg.jobs.tables import Tables


def stream_judge(recipe: Recipe, tables: Tables, parts: Parts, objects: Mapping[str, Any]) -> Judge:
    """The judge of a stream whose parts go together; RecipeError or DataError where they do not."""
    _check_head(recipe, tables, parts, given="head" in objects)
    _check_labels(recipe, parts)
    _check_samplers(tables, parts)
    judged = tables.test or tables.validation
    if judged is None:
        raise RecipeError(
            "a stream is measured after every experience, and the table has neither a test nor a validation split: add "
            "one, or --set data.holdout=0.2",
            field="data.holdout",
        )
    names = [experience.name for experience in tables.experiences]
    return judge_of(recipe, judged, tables.train, names, earlier_tasks(tables, parts, judged.attributes))


def earlier_tasks(tables: Tables, parts: Parts, attributes: Mapping[str, Any]) -> list[str]:
    """Tasks that the model knows already, that this stream does not teach, and that the table can judge."""
    taught = {experience.name for experience in tables.experiences}
    return [task for task in parts.encoder.head.tasks if task not in taught and task in attributes]


def _check_head(recipe: Recipe, tables: Tables, parts: Parts, *, given: bool) -> None:
    head, stream = parts.encoder.head, recipe.stream
    assert stream is not None
    several = hasattr(head, "add_task")
    if stream.heads == "own" and not several:
        raise RecipeError(
            f"every experience of a stream gets a head of its own, and head {recipe.head.name!r} serves a single task: "
            f"write head: {{name: multi-task, tasks: [], head: {{name: {recipe.head.name}}}}}, or have one head learn "
            "everything in turn: --set stream.heads=one",
            field="head",
        )
    if stream.heads == "one" and several:
        raise RecipeError(
            f"stream.heads is one, and head {recipe.head.name!r} has a head for each task: --set head=projection, or "
            "--set stream.heads=own",
            field="stream.heads",
        )
    untaught = [task for task in head.tasks if task not in {e.task for e in tables.experiences}]
    if untaught and not given:
        raise RecipeError(
            f"the head starts with {', '.join(untaught)}, which no experience teaches, so it would stay untrained: "
            "start without tasks, --set head.tasks=[]",
            field="head.tasks",
        )


def _check_labels(recipe: Recipe, parts: Parts) -> None:
    """What counts classes or remembers labels is made for one table, and a stream numbers them anew in each."""
    if any(hasattr(module, "num_classes") for module in parts.loss.modules()):
        name = (recipe.loss or recipe.learner).name
        raise RecipeError(
            f"loss {name!r} holds proxies of one table's classes, and every experience of a stream has "
            "another: choose a loss over pairs, e.g. --set loss=infonce",
            field="loss",
        )
    if parts.memory is not None and getattr(parts.learner, "whole_stream", False):
        raise RecipeError(
            f"learner {recipe.learner.name!r} takes batches of several tasks in turn, and a memory would compare rows "
            "of different tasks: --set memory=null",
            field="memory",
        )


def _check_samplers(tables: Tables, parts: Parts) -> None:
    if hasattr(parts.sampler, "set_epoch") and not isinstance(parts.sampler, type):
        raise RecipeError(
            "a ready sampler belongs to one table, and a stream has one for each experience: give its name or class",
            field="sampler",
        )
    for experience in tables.experiences:
        try:
            parts.sampler_of(experience)
        except FashregError as error:
            raise RecipeError(f"experience {experience.name!r}: {error}", field="sampler") from error

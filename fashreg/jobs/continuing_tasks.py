"""Learning on with another task: what the recipe of the new run says, and what may change in the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fashreg.config import Recipe, read_recipe
from fashreg.config_tasks import kinds_of
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, RecipeError
from fashreg.jobs.continuing_recipe import check_overrides, columns_of, kept_recipe
from fashreg.jobs.continuing_source import Beginning


def checked_tasks(begun: Beginning, add: str | Sequence[str]) -> list[str]:
    """The names of new tasks; RecipeError for none, for one named twice, and for one that the model knows."""
    names = [add] if isinstance(add, str) else list(add)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names):
        raise RecipeError(f"every task is added once and has a name; given: {', '.join(map(repr, names))}")
    if not hasattr(begun.encoder.backbone, "add_task"):
        raise ModelError(
            f"the backbone of {begun.name} takes no other task (it has no add_task); a new attribute of pictures is "
            "added by --add-attribute"
        )
    known = [name for name in names if name in begun.encoder.tasks]
    if known:
        raise RecipeError(
            f"{begun.name} knows a task {known[0]!r} already (it knows {', '.join(begun.encoder.tasks)}), and keeps "
            f"what it knows. To learn it anew beside the old, give it another name, and its kind: --add-task "
            f"{known[0]}-2 --set tasks.{known[0]}-2.kind={begun.encoder.backbone.kinds[known[0]]}"
        )
    return names


def recipe_with_tasks(
    begun: Beginning,
    names: Sequence[str],
    table: Any,
    *,
    recipe: Any = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """The recipe of the new run: as it was, but its tasks are the new ones alone.

    Columns that the data section names and `table` lacks are left out. table: None where every task has one of its own
    among the overrides, `tasks.NAME.data.table=...`.
    """
    document = kept_recipe(begun, recipe)
    check_overrides(overrides)
    for idle in ("stream", "evaluators", "rerankers"):
        document.pop(idle, None)
    known = {*begun.encoder.tasks, *(document.get("tasks") or {})}
    if isinstance(document.get("learner"), Mapping):
        document["learner"] = _without_tasks(document["learner"], known)
    document["tasks"] = {name: {} for name in names}
    data = dict(document.get("data") or {})
    data.pop("root", None)
    data["table"] = "" if table is None else str(table) if isinstance(table, str | Path) else "DataFrame"
    document["data"] = data if table is None else _without_strange(data, columns_of(table, overrides, data))
    for name in names if table is None else ():
        if not any(text.partition("=")[0].strip() == f"tasks.{name}.data.table" for text in overrides):
            raise RecipeError(
                f"say which table task {name!r} is learned from: --table TABLE, or --set tasks.{name}.data.table=TABLE",
                field=f"tasks.{name}.data.table",
            )
    trainer = {**(document.get("trainer") or {}), "freeze": "none", "cache": "none"}
    if begun.foreign and recipe is None:
        trainer["trackers"] = []  # a stranger chooses none
    document["trainer"] = trainer
    read = read_recipe(document, overrides)
    strange = [name for name in kinds_of(read.tasks) if name not in names]
    if strange:
        raise RecipeError(f"--set tasks.{strange[0]}: it is not among the tasks to add: --add-task {strange[0]}")
    return read


def _without_tasks(learner: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """A learner's options without what they say of single tasks that are not learned now (batches, teachers, ...)."""
    kept = {
        option: {task: part for task, part in value.items() if task not in known}
        for option, value in learner.items()
        if isinstance(value, Mapping) and known & set(value)
    }
    return {option: kept.get(option, value) for option, value in learner.items() if kept.get(option, value) != {}}


def _without_strange(data: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """The data section without columns that the table lacks."""
    kept = {name: value for name, value in data.items() if name not in ("text", "target") or value in columns}
    if kept.get("label", "label") not in columns:
        kept["label"] = None
    if "attributes" in kept:
        kept["attributes"] = [name for name in kept["attributes"] if name in columns]
    return kept


def rest_all_but(encoder: Encoder, names: Sequence[str]) -> list[nn.Module]:
    """Let nothing learn but what is these tasks' own; the modules in which then nothing learns, for evaluation mode.

    A task's own is what the backbone's `modules_of` and the head's `head_of` name for it and for no other task.
    """
    old = [task for task in encoder.tasks if task not in names]
    others = {id(parameter) for parameter in _parameters(encoder, old)}
    own = {id(parameter) for parameter in _parameters(encoder, names)} - others
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) in own)
    return [module for module in encoder.modules() if not any(p.requires_grad for p in module.parameters())]


def _parameters(encoder: Encoder, tasks: Sequence[str]) -> Iterator[nn.Parameter]:
    backbone: Any = encoder.backbone
    head: Any = encoder.head
    for task in tasks:
        for module in getattr(backbone, "modules_of", lambda _: [])(task):
            yield from module.parameters()
        if task in head.tasks:
            yield from (head.head_of(task) if hasattr(head, "head_of") else head).parameters()

"""What evaluators judge, who judges which kind of task, and who asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fashreg.data.official import official_of
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.encoder.questions import kinds_of
from fashreg.errors import ModelError
from fashreg.jobs.evaluation_asker import Asker
from fashreg.jobs.evaluation_composed import composed_found
from fashreg.jobs.evaluation_cross_modal import cross_modal_found
from fashreg.jobs.evaluation_parts import Found
from fashreg.jobs.evaluation_words import captions_found, classes_found

PICTURES = "pictures"
_FOUND: dict[str, Callable[[Asker, Any], Found]] = {
    "cross-modal": cross_modal_found,
    "composed": composed_found,
    "classes": classes_found,
    "captions": captions_found,
}
#: What the official tables that search between pictures and texts ask of an evaluator.
_OFFICIAL = {"fashion-gen-full": None, "fashion-gen-random-100": "table"}


def judges(evaluator: Any) -> str:
    """What an evaluator is given; pictures that find pictures, where it does not say."""
    found = getattr(evaluator, "judges", PICTURES)
    if found != PICTURES and found not in _FOUND:
        raise ModelError(f"{type(evaluator).__name__} judges {found!r}; known are {', '.join([PICTURES, *_FOUND])}")
    return str(found)


def found_by(asker: Asker, evaluator: Any) -> Found:
    """What an evaluator of something else than pictures finds."""
    return _FOUND[judges(evaluator)](asker, evaluator)


def evaluators_for(encoder: Encoder, task: str | None, tasks: Mapping[str, Any], others: Sequence[Any]) -> list[Any]:
    """The evaluators of a model that nobody named: of a task with a kind its own, or the one named like the kind.

    tasks: task -> its part of the recipe (`TaskConfig`), where the model tells. others: those of the recipe.
    ModelError where the model has several tasks and none is named.
    """
    kinds = kinds_of(encoder)
    if not kinds:
        return list(others)
    if task is None and len(kinds) > 1:
        listed = ", ".join(name if name == kind else f"{name} ({kind})" for name, kind in kinds.items())
        raise ModelError(f"this model has several tasks: say which to measure, --task NAME, one of: {listed}")
    named = next(iter(kinds)) if task is None else task
    if named not in kinds:
        raise ModelError(f"this model has no task {named!r}; its tasks are {', '.join(kinds)}")
    own = getattr(tasks.get(named), "evaluator", None)
    return [kinds[named] if own is None else own]


def protocol_name(table: Table, evaluators: Sequence[Any]) -> str | None:
    """The official benchmark's name, where this is its question."""
    official = official_of(table.frame, table.source)
    if official is None or not official.cross_modal:
        return table.protocol_name
    first = evaluators[0]
    fits = judges(first) == "cross-modal" and first.candidates == _OFFICIAL.get(official.protocol, "other")
    return official.protocol if fits else None

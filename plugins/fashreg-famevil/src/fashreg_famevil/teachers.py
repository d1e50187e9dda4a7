"""Models of one task each that a student of several learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fashreg.encoder import Encoder
from fashreg.errors import RecipeError
from fashreg.storage.loading import load
from fashreg.values import TrainingBatch
from fashreg_famevil.objectives import Answers, answers_of


class Teachers:
    """A trained model for each of some tasks: evaluation mode, no gradient, part of no module tree.

    Nobody trains, moves or saves them with the student. Which of a teacher's own tasks answers: the one of that name,
    else the only one of that kind.

    Args:
        models: task of the student -> its teacher.
        student: whom they teach; what does not fit is refused with RecipeError.
    """

    def __init__(self, models: Mapping[str, Encoder], student: Encoder) -> None:
        self._models: dict[str, tuple[Encoder, str]] = {}
        for task, model in models.items():
            asked = _task_of(model, task, student)
            _check_alike(model, asked, student, task)
            self._models[task] = model.requires_grad_(False).eval().to(student.device), asked

    @classmethod
    def load(cls, folders: Mapping[str, str], student: Encoder) -> Teachers:
        """From model folders or "user/name@REVISION" on the Hub."""
        return cls({task: load(folder) for task, folder in folders.items()}, student)

    def __contains__(self, task: str) -> bool:
        return task in self._models

    @torch.no_grad()
    def answers(self, batch: TrainingBatch, task: str, *, count_padding: bool = False) -> Answers:
        """What the task's teacher says of the same batch."""
        model, asked = self._models[task]
        return answers_of(model, batch, asked, count_padding=count_padding)


def _task_of(model: Encoder, task: str, student: Encoder) -> str:
    """Which task of a teacher answers for one of the student's."""
    mine: Mapping[str, str] = student.backbone.kinds
    theirs: Mapping[str, str] = getattr(model.backbone, "kinds", {})
    kind = mine.get(task)
    alike = [name for name, other in theirs.items() if other == kind]
    if kind is not None and theirs.get(task) == kind:
        return task
    if len(alike) == 1:
        return alike[0]
    what = ", ".join(f"{name} ({other})" for name, other in theirs.items()) or "no tasks"
    raise RecipeError(
        f"the teacher of task {task!r} has {what}, and one of kind {kind} is needed; name another model",
        field=f"learner.teachers.{task}",
    )


def _check_alike(model: Encoder, asked: str, student: Encoder, task: str) -> None:
    """Refuse a teacher that sees other pictures than the student, or means other things by its answers."""
    kind = student.backbone.kinds[task]
    differ = []
    sees = ("size", "mean", "std")
    pairs: list[tuple[str, Any, Any]] = [
        (name, getattr(model.input_spec, name), getattr(student.input_spec, name)) for name in sees
    ]
    if kind == "classification":
        pairs.append(("classes", list(model.head.classes[asked]), list(student.head.classes[task])))
    if kind == "captioning":
        pairs.append(("vocabulary", model.head.vocabulary, student.head.vocabulary))
        pairs.append(("context_length", model.backbone.context_length, student.backbone.context_length))
    for name, theirs, mine in pairs:
        if theirs != mine:
            differ.append(f"{name} {str(theirs)[:60]} instead of {str(mine)[:60]}")
    if differ:
        raise RecipeError(
            f"the teacher of task {task!r} does not fit the student: {'; '.join(differ)}. Train it with the same "
            "backbone options and table",
            field=f"learner.teachers.{task}",
        )

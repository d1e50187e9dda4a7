"""Which encoder may ask an index: the one whose vectors it holds, to the bit; or, on purpose, another one.

An index remembers two fingerprints: of the whole encoder, and, where the head has tasks, of what makes its own task's
vectors. Either proves that an encoder's vectors are those of the index; the second holds on when other tasks come.
"""

from __future__ import annotations

import os
from typing import Any

from fashreg.encoder import Encoder
from fashreg.encoder.questions import Question, answering, kinds_of
from fashreg.errors import ModelError
from fashreg.hub.address import is_address
from fashreg.indexes.folder import SavedIndex
from fashreg.jobs.opening import Model, open_model

_LONGEST = 4096  # letters of a path
#: What an index is asked with, by the kind of its task.
HOW_ASKED = {"cross-modal": "(asked with a text)", "composed": "(asked with a picture and a text)"}
_TYPED = {"cross-modal": '--text "WORDS"', "composed": '--image FILE --text "WORDS"'}


def task_of(encoder: Encoder, task: str | None, *, several: str = "") -> str | None:
    """The task that is meant: the one named, or the only one that finds pictures. A head without tasks takes any name.

    several: what else to type where a head has several and none is named. ModelError for a task that is not there.
    """
    tasks: tuple[str, ...] = encoder.head.tasks
    if not tasks or task in tasks:
        return task
    if task is not None:
        raise ModelError(f"this model has no task {task!r}; it has {', '.join(tasks)}")
    finding = finding_tasks(encoder)
    if len(finding) == 1 or len(tasks) == 1:
        return (*finding, *tasks)[0]
    if not kinds_of(encoder):
        raise ModelError(f"this model serves several tasks ({', '.join(tasks)}): say which, --task {tasks[0]}{several}")
    if not finding:
        raise ModelError(f"no task of this model finds pictures ({', '.join(tasks)}): say whose vectors, --task NAME")
    told = ", ".join(f"--task {name} {HOW_ASKED[kinds_of(encoder)[name]]}" for name in finding)
    raise ModelError(f"this model finds pictures in several ways: say which, {told}{several}")


def finding_tasks(encoder: Encoder) -> list[str]:
    """The tasks that pictures are found with: all of a head's, or those of such kinds where tasks have kinds."""
    return answering(encoder, "pictures") if kinds_of(encoder) else list(encoder.head.tasks)


def how_to_ask(gallery: Any) -> str:
    """What to type after `fashreg search INDEX` to ask a gallery that was just built."""
    kinds = {} if gallery.encoder is None else kinds_of(gallery.encoder)
    return _TYPED.get(kinds.get(gallery.task, ""), "--image FILE")


def check_question(encoder: Encoder, task: str | None, question: Question) -> None:
    """ModelError, with what to type, where the task of an index does not answer a question that another task would."""
    kind, able = kinds_of(encoder).get(task or ""), answering(encoder, question)
    if kind is None or task in able or not able:
        return
    what = "a text alone" if question == "texts" else "a picture and a text together"
    raise ModelError(
        f"this index is of the task {task!r}, which is not asked with {what}; its task {able[0]!r} is: build an index "
        f"of that, fashreg index build MODEL --table TABLE --task {able[0]} --out FOLDER"
    )


def stamped(encoder: Encoder, task: str | None) -> dict[str, Any]:
    """What an index says of its task: the name, and, where the head has tasks, the fingerprint, and its kind if any."""
    if task is None or not encoder.head.tasks:
        return {"task": task}
    kind = kinds_of(encoder).get(task)
    return {"task": task, "task_fingerprint": encoder.fingerprint(task), **({} if kind is None else {"kind": kind})}


def made_by(encoder: Encoder, saved: SavedIndex) -> bool:
    """Whether the index holds this encoder's vectors."""
    if encoder.fingerprint() == saved.model_fingerprint:
        return True
    task, said = saved.extra.get("task"), saved.extra.get("task_fingerprint")
    known = isinstance(task, str) and isinstance(said, str) and task in encoder.head.tasks
    return known and encoder.fingerprint(task) == said


def encoder_of(saved: SavedIndex, model: Model | None = None, *, across: bool = False) -> Encoder:
    """The encoder whose vectors an index folder holds; ModelError for any other.

    model: where it is now, by default where the index says. across: another one is allowed, if its vectors are of the
    same width and it has the index's task.
    """
    folder = saved.folder
    if across and model is None:
        raise ModelError(f"to ask {folder} across models, say with which one: --model FOLDER")
    chosen = model if model is not None else saved.extra.get("model")
    if model is None and (not isinstance(chosen, str | None) or len(chosen or "") > _LONGEST):
        raise ModelError(f"{folder / 'index.json'}: extra.model is no name of a model, but a {type(chosen).__name__}")
    if not chosen:
        raise ModelError(f"{folder} was built from a model in memory; say which one to ask with: --model FOLDER")
    if model is None and not is_address(chosen) and not os.path.isdir(str(chosen)):
        raise ModelError(f"the model of {folder} was at {chosen} and is not there now; say where: --model FOLDER")
    encoder, _ = open_model(chosen)
    if across:
        _check_across(saved, encoder)
    elif not made_by(encoder, saved):
        raise ModelError(_refusal(saved, encoder, chosen))
    return encoder


def saved_task(saved: SavedIndex) -> str | None:
    """The task whose vectors an index folder holds; ModelError where it says something else than a name."""
    task = saved.extra.get("task")
    if not isinstance(task, str | None):
        raise ModelError(f"{saved.folder / 'index.json'}: extra.task is a {type(task).__name__}, and should be a text")
    return task


def _check_across(saved: SavedIndex, encoder: Encoder) -> None:
    """ModelError where this encoder's vectors cannot be compared with those of the index."""
    task_of(encoder, saved_task(saved))
    wide = saved.vectors.shape[1]
    if encoder.embed_dim != wide:
        raise ModelError(
            f"{saved.folder} holds vectors of width {wide}, and this model makes them {encoder.embed_dim} wide: "
            "they cannot be compared; build the index again with this model"
        )


def _refusal(saved: SavedIndex, encoder: Encoder, chosen: Any) -> str:
    """Why an encoder may not ask an index, and what to type."""
    folder, task = saved.folder, saved_task(saved)
    new = "MODEL" if isinstance(chosen, Encoder) else chosen
    again = f"fashreg index build {new} --table TABLE --out {folder}"
    if task is not None and encoder.head.tasks and task not in encoder.head.tasks:
        return (
            f"{folder} holds vectors of the task {task!r}, and this model has {', '.join(encoder.head.tasks)}; "
            f"build another index: {again} --task {encoder.head.tasks[0]}"
        )
    named = "" if task is None else f" --task {task}"
    return (
        f"{folder} was built with another model (fingerprint {saved.model_fingerprint[:12]}, this one is "
        f"{encoder.fingerprint()[:12]}); build it again: {again}{named}. To ask its vectors with this model's all the "
        f"same: --across-models; how well that works, and whether to build again, is measured by: fashreg compatible "
        f"OLD {new} --table TABLE{named}"
    )

"""What is asked of an encoder, and which of its tasks answers: pictures, texts, both together, classes, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fashreg.errors import ModelError

if TYPE_CHECKING:
    from fashreg.encoder.network import Network

Question = Literal["pictures", "texts", "both", "classes", "captions"]

#: Which kinds of task answer a question.
ANSWERED_BY: dict[Question, tuple[str, ...]] = {
    "pictures": ("cross-modal", "composed"),
    "texts": ("cross-modal",),
    "both": ("composed",),
    "classes": ("classification",),
    "captions": ("captioning",),
}
_VERB: dict[Question, str] = {
    "pictures": "embed pictures that are to be found",
    "texts": "be asked with a text alone",
    "both": "be asked with a picture and a text together",
    "classes": "name classes",
    "captions": "write captions",
}
_MEMBER = {"texts": "encode_text", "both": "compose", "captions": "captions"}


def kinds_of(encoder: Network) -> Mapping[str, str]:
    """Task -> kind, as the backbone says; empty for one without tasks of its own."""
    kinds: Mapping[str, str] = getattr(encoder.backbone, "kinds", {})
    return kinds


def answering(encoder: Network, question: Question) -> list[str]:
    """The tasks that answer a question, of a model whose tasks have kinds."""
    return [task for task, kind in kinds_of(encoder).items() if kind in ANSWERED_BY[question]]


def task_for(encoder: Network, question: Question, task: str | None) -> str | None:
    """The task that is meant: the one named, or the only one that answers such a question.

    Without kinds of tasks it is `task` as it is. ModelError where the model cannot be asked so, where the task named
    does not answer it, and where several do and none is named. Pictures may be embedded with any task that is named.
    """
    _check_modality(encoder, question)
    kinds = kinds_of(encoder)
    if not kinds:
        return task
    able = answering(encoder, question)
    if task is None:
        if len(able) == 1:
            return able[0]
        if question == "pictures" and len(kinds) == 1:
            return next(iter(kinds))
        if not able:
            raise ModelError(f"no task of this model can {_VERB[question]}; {_listed(kinds)}. {_train(question)}")
        raise ModelError(f"several tasks of this model can {_VERB[question]}: say which, task {' or '.join(able)}")
    if task not in kinds:
        raise ModelError(f"this model has no task {task!r}; {_listed(kinds)}")
    if question != "pictures" and task not in able:
        named = f"task {task!r}" + ("" if task == kinds[task] else f" ({kinds[task]})")
        can = f"take the task {' or '.join(able)}" if able else f"no task of this model can. {_train(question)}"
        raise ModelError(f"the {named} cannot {_VERB[question]}; {can}")
    return task


def _check_modality(encoder: Network, question: Question) -> None:
    """ModelError where the backbone lacks what the question needs, or the head what answers it."""
    backbone, head = encoder.backbone, encoder.head
    member = _MEMBER.get(question)
    has: bool = member is None or hasattr(backbone, member)
    if question == "classes":
        has = hasattr(head, "classify")
    elif question == "captions":
        has = has and hasattr(head, "words")
    elif question != "pictures":
        has = has and head.takes == "pooled"
    if not has:
        parts = f"backbone {type(backbone).__name__}, {' and '.join(sorted(backbone.modalities))}; head"
        raise ModelError(
            f"this model cannot {_VERB[question]} ({parts} {type(head).__name__}): take one trained for it, e.g. with "
            "fame-vil of the plugin fashreg-famevil"
        )


def _listed(kinds: Mapping[str, str]) -> str:
    named = (name if name == kind else f"{name} ({kind})" for name, kind in kinds.items())
    return f"its tasks are {', '.join(named)}"


def _train(question: Question) -> str:
    kind = ANSWERED_BY[question][0]
    return f"Train one of the kind {kind} (in a recipe: tasks.NAME.kind={kind})"


def texts_of(texts: Any) -> list[str]:
    """The texts as a list; one text alone is a list of one. ValueError for what is no text."""
    found = [texts] if isinstance(texts, str) else list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise ValueError(f"texts[{place}] is a {type(text).__name__}, and should be a text: {text!r:.80}")
    return found


def paired(count: int, texts: Sequence[str]) -> list[str]:
    """A text for each of `count` pictures, or, with one picture, as many as there are. ValueError for other counts."""
    if len(texts) == count or count == 1:
        return list(texts)
    if len(texts) == 1:
        return list(texts) * count
    raise ValueError(
        f"{count} pictures and {len(texts)} texts: give as many texts as pictures, one text for all, or one picture"
    )

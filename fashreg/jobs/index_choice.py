"""Which of several indexes is meant: the one of a task, or the only one that a question can be put to."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fashreg.encoder.questions import ANSWERED_BY, Question
from fashreg.errors import ModelError
from fashreg.indexes.folder import SavedIndex
from fashreg.jobs.index_model import HOW_ASKED, saved_task
from fashreg.strict_json import read_json

_MOST = 20  # indexes that an error names
_ASKED: dict[Question, str] = {"texts": "with a text alone", "both": "with a picture and a text together"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several indexes. place: where it is, as a person names it. task, kind: as its index.json says."""

    place: str
    task: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        return " ".join([self.task or self.place, *([HOW_ASKED[self.kind]] if self.kind in HOW_ASKED else [])])

    def answers(self, question: Question | None) -> bool:
        """Whether it can be asked so, as far as is known: all by pictures; what a task without a kind takes is open."""
        return question in (None, "pictures") or self.kind is None or self.kind in ANSWERED_BY[question]


def candidate(place: str, about: Path) -> Candidate:
    """An index as its index.json says; what is wrong with that file is for whoever opens the index to say."""
    try:
        content = read_json(about)
    except ModelError:
        return Candidate(place, unquote(Path(place).name))
    extra: Any = content.get("extra") if isinstance(content, dict) else None
    said: dict[str, Any] = extra if isinstance(extra, dict) else {}
    task, kind = (said.get(name) if isinstance(said.get(name), str) else None for name in ("task", "kind"))
    return Candidate(place, task, kind)


def chosen(holder: str, several: Sequence[Candidate], task: str | None, question: Question | None) -> Candidate:
    """The index of the task; without one, the only one that can be asked so. ModelError names them otherwise.

    holder: folder or repository, for the error. question: None where anything may be asked.
    """
    able = [one for one in several if (one.answers(question) if task is None else one.task == task)]
    if len(able) != 1:
        raise ModelError(_undecided(holder, able, several) if able else _none(holder, several, task, question))
    return able[0]


def _undecided(holder: str, able: Sequence[Candidate], several: Sequence[Candidate]) -> str:
    if len({one.task for one in able}) < len(able):
        places = ", ".join(one.place for one in able[:_MOST])
        return f"{holder} holds several indexes that could be meant; name one of them: {places}"
    told = "an index for each of several tasks" if len(able) == len(several) else "several indexes that are asked so"
    return f"{holder} holds {told}: say which, --task NAME, one of: {_named(able)}"


def _none(holder: str, several: Sequence[Candidate], task: str | None, question: Question | None) -> str:
    if task is None:
        assert question is not None, "anything may be asked, and nothing answers"
        return (
            f"no index of {holder} is asked {_ASKED[question]}; it holds {_named(several)}. Build one of a task of "
            f"the kind {ANSWERED_BY[question][0]}: fashreg index build MODEL --table TABLE --task NAME --out FOLDER"
        )
    near = difflib.get_close_matches(task, [one.task for one in several if one.task], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{holder} holds no index of the task {task!r}; {hint}it holds {_named(several)}"


def _named(several: Sequence[Candidate]) -> str:
    return ", ".join(map(str, several[:_MOST])) + (", ..." if len(several) > _MOST else "")


def of_task(saved: SavedIndex, holder: str, task: str | None) -> SavedIndex:
    """The index, if it is of the task that was asked for; ModelError otherwise. task: None is any."""
    if task is not None and (found := saved_task(saved)) != task:
        told = "of no task" if found is None else f"of the task {found!r}"
        raise ModelError(f"{holder} is an index {told}, and --task asks for {task!r}: name another index, or no task")
    return saved

"""Whether a model still says what it said: vectors of some pictures and weights, before and after learning on."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.storage import load_encoder

PICTURES = 32


@dataclass(frozen=True)
class Kept:
    """What became of the tasks that were known before.

    pictures: how many were shown to both models. equal: task -> whether its weights and all its answers are equal to
    the bit. alike: task -> mean cosine of old and new vectors; of captions, the share of equal ones.
    """

    pictures: int
    equal: Mapping[str, bool]
    alike: Mapping[str, float]

    @property
    def whole(self) -> bool:
        """Whether everything is what it was, to the bit."""
        return all(self.equal.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"pictures": self.pictures, "equal": dict(self.equal), "alike": dict(self.alike)}

    def summary(self) -> str:
        """A sentence or two for a terminal."""
        same = [task for task, equal in self.equal.items() if equal]
        moved = [f"{task} ({self.alike[task]:.4f})" for task, equal in self.equal.items() if not equal]
        lines = []
        if same:
            lines.append(
                f"kept to the bit: {', '.join(same)} (weights, and answers to {self.pictures} pictures); indexes made "
                "with the old model stay valid"
            )
        if moved:
            lines.append(
                f"moved: {', '.join(moved)} (mean cosine of old and new vectors); embed their galleries anew, or ask "
                "`fashreg compatible OLD NEW` whether old ones will do"
            )
        return "\n".join(lines)


#: What a task answers: vectors or logits (N, ...), or captions.
Answers = list[Tensor | list[str]]

_WORDS = ("a red dress", "blue, with long sleeves", "striped shirt without a collar")
_WRITTEN, _LENGTH = 4, 12  # captions that are written, and their words


class Before:
    """What a model says of some pictures of a table, to be compared with what it says later."""

    def __init__(self, encoder: Encoder, table: Table, tasks: Sequence[str]) -> None:
        rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), PICTURES)).round().astype(np.int64))
        self.tasks = tuple(tasks)
        self.table = table.take(rows)
        self.answers = self._asked(encoder)
        self.prints = {task: encoder.fingerprint(task) for task in self.tasks}

    def compare(self, later: Encoder | Path) -> Kept:
        """With a model in memory, or as it was saved."""
        encoder = load_encoder(later) if isinstance(later, Path) else copy.deepcopy(later).cpu()
        now = self._asked(encoder)
        pairs = {task: list(zip(now[task], self.answers[task], strict=True)) for task in self.tasks}
        equal = {
            task: all(_equal(*pair) for pair in pairs[task]) and encoder.fingerprint(task) == self.prints[task]
            for task in self.tasks
        }
        alike = {task: sum(_alike(*pair) for pair in pairs[task]) / len(pairs[task]) for task in self.tasks}
        return Kept(len(self.table), equal, alike)

    def _asked(self, encoder: Encoder) -> dict[str, Answers]:
        """Task -> its answers: of pictures, and by the task's kind also of texts, of both, classes and captions."""
        if not self.tasks:
            return {}
        kinds = getattr(encoder.backbone, "kinds", {})
        vectors = encoder.embed_tasks(self.table, self.tasks)
        return {task: [vectors[task], *self._by_kind(encoder, task, kinds.get(task))] for task in self.tasks}

    def _by_kind(self, encoder: Encoder, task: str, kind: str | None) -> Answers:
        words = [_WORDS[row % len(_WORDS)] for row in range(len(self.table))]
        if kind == "cross-modal":
            return [encoder.embed(texts=list(_WORDS), task=task)]
        if kind == "composed":
            return [encoder.embed(self.table, texts=words, task=task)]
        if kind == "classification":
            return [encoder.logits(self.table, texts=words, task=task)]
        if kind == "captioning":
            few = self.table.take(list(range(min(len(self.table), _WRITTEN))), dense=False)
            return [encoder.caption(few, task=task, length=_LENGTH)]
        return []


def _equal(now: Tensor | list[str], before: Tensor | list[str]) -> bool:
    return torch.equal(now, before) if isinstance(now, Tensor) and isinstance(before, Tensor) else now == before


def _alike(now: Tensor | list[str], before: Tensor | list[str]) -> float:
    if isinstance(now, Tensor) and isinstance(before, Tensor):
        return float(torch.nn.functional.cosine_similarity(now, before).mean())
    same = [bool(a == b) for a, b in zip(now, before, strict=True)]
    return float(sum(same) / max(1, len(same)))

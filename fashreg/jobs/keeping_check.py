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

    pictures: how many were embedded by both models. equal: task -> whether its weights and all its vectors are equal to
    the bit. alike: task -> mean cosine of the old and the new vector of a picture.
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
                f"kept to the bit: {', '.join(same)} (weights, and vectors of {self.pictures} pictures); indexes made "
                "with the old model stay valid"
            )
        if moved:
            lines.append(
                f"moved: {', '.join(moved)} (mean cosine of old and new vectors); embed their galleries anew, or ask "
                "`fashreg compatible OLD NEW` whether old ones will do"
            )
        return "\n".join(lines)


class Before:
    """What a model says of some pictures of a table, to be compared with what it says later."""

    def __init__(self, encoder: Encoder, table: Table, tasks: Sequence[str]) -> None:
        rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), PICTURES)).round().astype(np.int64))
        self.tasks = tuple(tasks)
        self.table = table.take(rows)
        self.vectors = self._embedded(encoder)
        self.prints = {task: encoder.fingerprint(task) for task in self.tasks}

    def compare(self, later: Encoder | Path) -> Kept:
        """With a model in memory, or as it was saved."""
        encoder = load_encoder(later) if isinstance(later, Path) else copy.deepcopy(later).cpu()
        now = self._embedded(encoder)
        equal = {
            task: torch.equal(now[task], self.vectors[task]) and encoder.fingerprint(task) == self.prints[task]
            for task in self.tasks
        }
        alike = {
            task: float(torch.nn.functional.cosine_similarity(now[task], self.vectors[task]).mean())
            for task in self.tasks
        }
        return Kept(len(self.table), equal, alike)

    def _embedded(self, encoder: Encoder) -> dict[str, Tensor]:
        return encoder.embed_tasks(self.table, self.tasks) if self.tasks else {}

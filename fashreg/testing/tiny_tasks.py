"""A toy that learns four kinds of task at once, for tests of recipes with `tasks`. For the toy of `tiny_texts`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_texts import ENTRY_POINTS as MODEL
from fashreg.testing.tiny_texts import LETTERS
from fashreg.training.objective import Objective
from fashreg.values import Embedded, TrainingBatch

ENTRY_POINTS = {**MODEL, "fashreg.learner": {"tiny-tasks": "fashreg.testing.tiny_tasks:TinyTaskLearner"}}


class TinyTaskLearner(StandardLearner):
    """Matching, finding, naming, and the first letter of a caption, each by its cross-entropy.

    Args:
        in_turn: tasks take turns in the order of their names, as many for each as the longest one has batches.
    """

    own_loss = True
    tasks_of_kinds = frozenset({"cross-modal", "composed", "classification", "captioning"})

    def __init__(self, in_turn: bool = False) -> None:
        super().__init__()
        self.in_turn = in_turn

    def needs_of_kind(self, kind: str) -> frozenset[str]:
        """Fields of TrainingBatch."""
        needs = {"composed": ("texts", "targets"), "classification": ()}
        return frozenset(needs.get(kind, ("texts",)))

    @property
    def turns(self) -> Any:
        """None leaves the order to the source."""
        return _in_turn if self.in_turn else None

    def objective(self, batch: TrainingBatch) -> Objective:
        """One task's loss."""
        encoder: Any = self.session.encoder
        backbone, head, task = encoder.backbone, encoder.head, str(batch.task)
        kind, texts = backbone.kinds[task], list(batch.texts or [""] * len(batch))
        places = torch.arange(len(batch))
        if kind == "composed":
            assert batch.targets is not None
            rows = head(backbone.compose(batch.images, texts, task), task)
            value = cross_entropy(16 * rows @ head(backbone(batch.targets, task), task).T, places)
        elif kind == "classification":
            rows = backbone.compose(batch.images, texts, task)
            value = cross_entropy(head.classify(rows, task), batch.labels)
        elif kind == "captioning":
            rows = backbone(batch.images, task)
            value = cross_entropy(head.words(torch.tanh(rows), task), _first(texts))
        else:
            rows = head(backbone(batch.images, task), task)
            value = cross_entropy(16 * rows @ head(backbone.encode_text(texts, task), task).T, places)
        parts = {"loss": value, task: value}
        return Objective(value, Embedded(rows.detach(), batch.labels, batch.ids), parts)


def _first(texts: list[str]) -> Tensor:
    return torch.tensor([max(0, LETTERS.find(text[:1].lower())) for text in texts])


def _in_turn(lengths: dict[str, int], seed: tuple[int, int]) -> list[str]:
    return [name for _ in range(max(lengths.values())) for name in sorted(lengths)]

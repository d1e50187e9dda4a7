"""A batch through the encoder in such a way that others can look on: trunk once, and what it went through."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fashreg.errors import RecipeError
from fashreg.training.freezing import Frozen
from fashreg.training.session import Session
from fashreg.values import Embedded, TrainingBatch
from fashreg_mclfir.heads import before_head


class Passed(NamedTuple):
    """What a batch went through. Shapes: B rows of this process; the second view, where the loss takes it, apart.

    rows: embeddings (B, D) with gradient, float32. partners: those of the second view, or None. features: (B, F) or
    (B, C, h, w), what the head proper takes, with gradient. entry: what the steps that never change made of the
    pictures: a teacher begins there, too. start: how many steps these are.
    """

    rows: Embedded
    partners: Embedded | None
    features: Tensor
    entry: Tensor
    start: int


def pass_batch(session: Session, frozen: Frozen, batch: TrainingBatch, *, both: bool) -> Passed:
    """One pass of this process's pictures; it is counted. both: the second view belongs to the loss, too."""
    encoder, count = session.encoder, len(batch)
    second = batch.second_view if both else None
    images = batch.images if second is None else torch.cat([batch.images, second])
    start = max(batch.stage, frozen.cut)
    with session.processes.autocast():
        entry = encoder.steps(images, batch.stage, start)
        features, head = before_head(encoder, encoder.steps(entry, start, encoder.cuts), batch.task)
        vectors = head(features)
    session.cost.forward(len(images))
    if vectors.requires_grad:
        session.cost.backward(len(images))
    vectors = single(vectors)
    rows = Embedded(vectors[:count], batch.labels, batch.ids, unit=encoder.head.unit)
    partners = None if second is None else replace(rows, vectors=vectors[count:])
    return Passed(rows, partners, features[:count], entry[:count], start)


def enter(session: Session, frozen: Frozen, batch: TrainingBatch) -> Tensor:
    """What the steps that never change make of the batch's second view."""
    images = batch.second_view
    if images is None:
        raise RecipeError(
            "learner mcl-fir with teacher_view: second needs a second view of every picture, and these batches have "
            "none: --set learner.teacher_view=same",
            field="learner.teacher_view",
        )
    with session.processes.autocast(), torch.no_grad():
        return session.encoder.steps(images, batch.stage, max(batch.stage, frozen.cut))


def single(values: Tensor) -> Tensor:
    """The values in float32 where autocast left them in half; wider ones stay."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values

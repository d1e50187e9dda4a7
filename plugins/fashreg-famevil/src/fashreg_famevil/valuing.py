"""From what student and teacher say of a batch to its value: over the rows of all processes, whatever the kind."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fashreg.training.processes import Processes
from fashreg.values import Embedded, TrainingBatch
from fashreg_famevil.losses import (
    distillation,
    matching_distillation,
    matching_logits,
    matching_loss,
    published_matching_distillation,
    without_doubles,
)
from fashreg_famevil.objectives import BOTH_WAYS, Answers


class Valued(NamedTuple):
    """own: the task's loss. taught: its distillation; None without a teacher. Scalars, the student's with gradient.

    Averaged over processes, their gradients are those of one process that holds the whole batch.
    """

    own: Tensor
    taught: Tensor | None = None


def value_of(
    mine: Answers,
    theirs: Answers | None,
    batch: TrainingBatch,
    kind: str,
    processes: Processes,
    mask_same_label: bool = True,
    published: bool = False,
) -> Valued:
    """What the batch is worth to a student, and to one with a teacher. The batch is only read.

    mask_same_label: see `fashreg_famevil.losses.without_doubles`. published: `published_matching_distillation`, for
    kinds that look both ways.
    """
    if mine.columns is None:
        return _told(mine, theirs, batch, processes)
    both = kind in BOTH_WAYS
    rows, columns, labels = _of_all(mine, batch, processes)
    scale = _scale(mine)

    def masked(logits: Tensor) -> Tensor:
        return without_doubles(logits, labels) if mask_same_label else logits

    logits = masked(matching_logits(rows, columns, scale))
    own = matching_loss(logits, both_ways=both)
    if theirs is None:
        return Valued(own)
    their_rows, their_columns, _ = _of_all(theirs, batch, processes)
    if published and both:
        pairs = (rows, their_rows), (columns, their_columns), (scale, _scale(theirs))
        return Valued(own, published_matching_distillation(logits, *pairs, masked=masked))
    wanted = masked(matching_logits(their_rows, their_columns, _scale(theirs)))
    return Valued(own, matching_distillation(logits, wanted, both_ways=both))


def _told(mine: Answers, theirs: Answers | None, batch: TrainingBatch, processes: Processes) -> Valued:
    """Mean over the classes or words of all processes that are to be told."""
    assert mine.logits is not None
    assert mine.targets is not None
    logits, count = mine.logits.float(), len(mine.targets)
    share = processes.size / _total(count, batch, processes)
    own = F.cross_entropy(logits, mine.targets, reduction="sum") * share
    if theirs is None or theirs.logits is None:
        return Valued(own)
    return Valued(own, distillation(logits, theirs.logits.float()) * (count * share))


def _of_all(said: Answers, batch: TrainingBatch, processes: Processes) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns (N, E) of all processes, with gradient where there is one, and labels (N,)."""
    assert said.columns is not None
    rows, columns = (
        processes.gather(Embedded(vectors.float(), batch.labels, batch.ids)) for vectors in (said.rows, said.columns)
    )
    return rows.vectors, columns.vectors, rows.labels


def _total(count: int, batch: TrainingBatch, processes: Processes) -> float:
    """The sum over processes of a number that each has."""
    if processes.size == 1:
        return float(count)
    number = torch.full((1, 1), float(count), device=batch.labels.device)
    alike = batch.labels.new_zeros(1)
    return float(processes.gather(Embedded(number, alike, alike)).vectors.sum())


def _scale(said: Answers) -> Tensor:
    assert said.scale is not None
    return said.scale.float()

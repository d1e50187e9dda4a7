"""How far a model has moved away from another one: three measures with gradient for the model that learns."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg_mclfir.heads import head_of
from fashreg_mclfir.teacher import Teacher

_NO_LENGTH = 1e-12


def pooled(features: Tensor) -> Tensor:
    """What a trunk gives, as one row a picture in at least float32: a map (B, C, h, w) by its mean; (B, F) stays."""
    rows = features.mean((2, 3)) if features.ndim == 4 else features
    return rows.float() if rows.dtype.itemsize < 4 else rows


def feature_gap(features: Tensor, kept: Tensor) -> Tensor:
    """Mean square over the batch and the C pooled features of their difference; kept: a teacher's."""
    return nn.functional.mse_loss(pooled(features), pooled(kept).detach())


def moved(rows: Tensor, kept: Tensor) -> Tensor:
    """Mean squared distance of unit rows (B, D) to where a teacher has them: 2 - 2 cos, 0 to 4."""
    return (_unit(rows) - _unit(kept.detach())).square().sum(1).mean()


def answers_moved(
    encoder: Encoder, features: Tensor, teacher: Teacher, theirs: Tensor, tasks: Iterable[str | None]
) -> Tensor:
    """`moved`, summed over old tasks: the encoder's old heads on its features against the teacher's on `theirs`."""
    gaps = [moved(head_of(encoder, task)(features), teacher.vectors(theirs, task)) for task in tasks]
    return torch.stack(gaps).sum()


def similarity_change(rows: Tensor, kept: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || model) between softmaxes over the other rows of the batch: cosines / T, mean over rows.

    Two rows or fewer have nothing to be compared with: 0.
    """
    if len(rows) < 3:
        return (rows * 0.0).sum()
    now, then = _others(_unit(rows), temperature), _others(_unit(kept.detach()), temperature)
    divergence = (then.exp() * (then - now)).sum(1).mean()
    return temperature**2 * divergence


def _unit(rows: Tensor) -> Tensor:
    rows = rows.float() if rows.dtype.itemsize < 4 else rows
    return nn.functional.normalize(rows, dim=1, eps=_NO_LENGTH)


def _others(rows: Tensor, temperature: float) -> Tensor:
    """log softmax over the other rows: (B, B - 1)."""
    count = len(rows)
    others = ~torch.eye(count, dtype=torch.bool, device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        cosines = rows @ rows.T
    return torch.log_softmax((cosines / temperature)[others].view(count, count - 1), dim=1)

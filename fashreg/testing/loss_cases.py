"""What the contract of a loss is tested on, and how a loss is measured.

The rows all lie in one narrow cone, so that positives are not yet together, negatives not yet apart, and every margin
in common use has something to do. Values are taken in eval mode, where a loss must not change its state.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fashreg.values import Embedded

LARGE = torch.tensor([2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**62])  # float32 and float64 each merge two of these
MANY = 15_000  # references: with 10 anchors enough for a loss to leave its plain dense form


def rows(n: int, seed: int = 0) -> Tensor:
    """(n, 8) float32 rows of various lengths, all within a cone."""
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return (1 + 0.7 * noise) * (1 + torch.arange(n) % 3)[:, None]


def images(n: int, seed: int = 0, first: int = 0, classes: int = 5) -> Embedded:
    """n images with ids first, first + 1, ... and labels 0, 1, ... in turn."""
    return Embedded(rows(n, seed), torch.arange(n) % classes, torch.arange(first, first + n))


def take(found: Embedded, order: Tensor) -> Embedded:
    """The rows at these places."""
    return replace(found, vectors=found.vectors[order], labels=found.labels[order], ids=found.ids[order])


def measured(
    loss: Any, batch: Embedded, references: Embedded | None = None, relevance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch by a copy in eval mode, and its gradient with respect to the batch's vectors."""
    leaf = batch.vectors.detach().clone().requires_grad_()
    value = copy.deepcopy(loss).eval()(replace(batch, vectors=leaf), references, relevance)
    value.backward()
    assert leaf.grad is not None, "no gradient reaches the batch"
    return value.detach(), leaf.grad


def alike(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], tolerance: float = 1e-4) -> bool:
    """True when two (value, gradient) pairs agree."""
    return all(
        torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance) for a, b in zip(one, other, strict=True)
    )


def finite(found: tuple[Tensor, Tensor]) -> bool:
    """True when value and gradient are numbers."""
    return all(bool(torch.isfinite(x).all()) for x in found)


def has_classes(loss: Any) -> bool:
    """True for a loss that owns something for each of num_classes classes, so that labels are indices."""
    return hasattr(loss, "num_classes")


def one_hot(batch: Embedded, loss: Any) -> Tensor:
    """The labels as a relevance matrix: against classes where the loss owns classes, else against the batch."""
    against = torch.arange(loss.num_classes) if has_classes(loss) else batch.labels
    return (batch.labels[:, None] == against[None]).float()

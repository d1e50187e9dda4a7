"""Sums over the rows of a memory, kept in step with it, and the moments that follow from them.

sums: (2, D) in double precision, the sum of the rows and that of their squares; a row that is overwritten changes them
by its difference, so no step reads more rows than it writes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sums_of(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The sums (2, D) of rows (n, D)."""
    wide = rows.to(dtype)
    return torch.stack((wide.sum(0), (wide * wide).sum(0)))


def change_of_sums(old: Tensor, new: Tensor) -> Tensor:
    """What is to be added to the sums when the rows `old` (n, D), in double precision, become `new`."""
    new = new.to(old.dtype)
    difference = new - old
    return torch.stack((difference.sum(0), (new + old).mul_(difference).sum(0)))


def moments_of(sums: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,), population form, of n rows with these sums; zeros without rows."""
    mean, square = (sums / max(1, n)).unbind()
    return mean, torch.addcmul(square, mean, mean, value=-1.0).clamp_(min=0.0).sqrt_()

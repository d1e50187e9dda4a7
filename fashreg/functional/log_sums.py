"""Stable logarithms of sums of exponentials, with the derivative that falls out of the same pass.

Both forms answer for x (B, N) with a 0/1 mask: log(1 + sum exp x) ("plus one", used by multi-similarity and
proxy-anchor; 0 for a row without entries) or log(sum exp x) (used by InfoNCE).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.reference_rows import ScaledRows

VOID = -1e30  # an exponent that gives 0, finite so that VOID - VOID is no NaN
_NOTHING_YET = -1e29
_FLOOR = -80.0  # e^-80 beside 1 is nothing in fp32 or fp64, and smaller exponents take the slow path of the processor
_CEILING = 60.0  # sums of millions of e^60 stay in fp32


def fits(low: float, high: float) -> bool:
    """Whether exponents between `low` and `high` can be summed as they are, without setting the largest one aside."""
    return low >= _FLOOR and high <= _CEILING


def drop(x: Tensor, mask: Tensor) -> Tensor:
    """`x` with VOID added wherever the 0/1 `mask` is 0 (in place)."""
    return x.add_(mask - 1, alpha=-VOID)


def _largest(x: Tensor, dim: int) -> Tensor:
    if x.shape[dim] == 0:
        return x.new_full((x.shape[0], 1) if dim == 1 else (1, x.shape[1]), _NOTHING_YET)
    return x.amax(dim, keepdim=True)


def _exp(x: Tensor, mask: Tensor | None, bounded: bool) -> Tensor:
    if not bounded:
        x.clamp_min_(_FLOOR)
    x.exp_()
    return x if mask is None else x.mul_(mask)


def log_sum(
    x: Tensor, mask: Tensor | None = None, *, plus_one: bool, dim: int = 1, bounded: bool = False
) -> tuple[Tensor, Tensor]:
    """Log of the masked sum of exp(x) along `dim` (kept as size 1), and its derivative with respect to x. Overwrites x.

    bounded: every exponent fits (see `fits`). Rows without entries: 0 with `plus_one`, below -80 without; their
    derivative is 0 either way.
    """
    top = None
    if not bounded:
        if mask is not None:
            drop(x, mask)
        top = _largest(x, dim).clamp_min_(0.0 if plus_one else _NOTHING_YET)
        x.sub_(top)
    weights = _exp(x, mask, bounded)
    total = weights.sum(dim, keepdim=True)
    if plus_one:
        if top is None:
            return torch.log1p(total), weights.div_(total + 1)
        return top + torch.log1p(total + torch.expm1(-top)), weights.div_(total + torch.exp(-top))
    total.clamp_min_(torch.finfo(x.dtype).tiny)
    return total.log() if top is None else top + total.log(), weights.div_(total)


class RunningLogSum:
    """The same log-sum over columns that arrive block by block, with the matching weighted sum of the columns' rows.

    anchors: (B, D), only for shape and type. bounded: every exponent fits, so no shift is needed;
    otherwise every row keeps the largest exponent seen and rescales what it has when a larger one comes.
    """

    def __init__(self, anchors: Tensor, *, plus_one: bool, bounded: bool) -> None:
        b = len(anchors)
        self.plus_one, self.bounded = plus_one, bounded
        self.shift = anchors.new_full((b, 1), 0.0 if plus_one or bounded else _NOTHING_YET)
        self.total = anchors.new_zeros(b, 1)
        self.moment = torch.zeros_like(anchors)

    def add(self, x: Tensor, rows: ScaledRows, mask: Tensor | None = None) -> None:
        """Exponents x (B, m), overwritten, with their 0/1 mask, and the m rows they belong to."""
        if not self.bounded:
            if mask is not None:
                drop(x, mask)
            top = torch.maximum(self.shift, _largest(x, 1))
            factor = torch.exp(self.shift - top)
            self.total.mul_(factor)
            self.moment.mul_(factor)
            self.shift = top
            x.sub_(top)
        weights = _exp(x, mask, bounded=False)  # a column that holds VOID must come out as nothing here too
        self.total.add_(weights.sum(1, keepdim=True))
        rows.add_to(self.moment, weights)

    def log(self) -> Tensor:
        """(B, 1), as log_sum gives it."""
        if self.plus_one:
            return self.shift + torch.log1p(self.total + torch.expm1(-self.shift))
        return self.shift + self.total.clamp_min(torch.finfo(self.total.dtype).tiny).log()

    def mean_row(self) -> Tensor:
        """(B, D): the rows weighted by the derivative of log() with respect to their exponents."""
        if self.plus_one:
            return self.moment / (self.total + torch.exp(-self.shift))
        return self.moment / self.total.clamp_min(torch.finfo(self.total.dtype).tiny)

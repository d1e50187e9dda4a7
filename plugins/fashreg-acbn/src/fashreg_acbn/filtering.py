"""What the mean and the spread of the present embedding are, from batches that each show them with an error."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fashreg_acbn.kalman import gain, steady_gain
from fashreg_acbn.moments import Moments, small_sample_factor
from fashreg_acbn.precise import apply_but_keep

_TWO = 1.5  # a batch worth less says nothing about the spread


class MomentFilter(nn.Module):
    """Two filters a dimension, one for the mean and one for the standard deviation; options as in ACBNMemory.

    level: (2, D), the estimates. spread: (2, D), their variances p. seen: (2, 1), observations so far. loosened: 1 when
    the next observation finds variance p0. The first observation is taken whole, with p = p0 and no update.
    """

    level: Tensor
    spread: Tensor
    seen: Tensor
    loosened: Tensor

    def __init__(
        self,
        width: int,
        kind: str = "adaptive",
        q: float = 0.01,
        r: float = 1.0,
        p0: float = 1.0,
        noise: str = "scalar",
        min_effective: float = 8.0,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        if kind not in ("adaptive", "xbn", "ema"):
            raise ValueError(f'kind must be "adaptive", "xbn" or "ema", got {kind!r}')
        if noise not in ("scalar", "principled"):
            raise ValueError(f'noise must be "scalar" or "principled", got {noise!r}')
        for name, value, least in (("q", q, 0), ("r", r, 0), ("p0", p0, 0), ("min_effective", min_effective, 1)):
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} must be finite and {least} or more, got {value}")
        self.kind, self.noise, self.min_effective, self.unbiased = kind, noise, min_effective, unbiased
        self.q, self.r, self.p0 = q, r, p0
        for name, shape in (("level", (2, width)), ("spread", (2, width)), ("seen", (2, 1))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("loosened", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, now: Moments) -> Tensor:
        """Take in a batch's moments; (2, 1) bool: whether there is a mean and a std to move the memory to."""
        like = self.level
        worth = now.effective.to(like.dtype)
        std = now.std * small_sample_factor(now.effective) if self.unbiased else now.std
        z = torch.stack((now.mean, std)).to(like.dtype)
        least = max(self.min_effective, _TWO) if self.kind == "xbn" else _TWO
        counts = torch.stack((torch.ones_like(worth), worth)).view(2, 1) >= torch.tensor([[0.0], [least]]).to(like)
        first = counts & (self.seen == 0)
        q, r, p0 = self._variances(worth, torch.where(self.seen[1] > 0, self.level[1], z[1]))
        p = (p0.expand_as(like) if int(self.loosened) else self.spread) + q
        k = torch.where(counts, torch.where(first, 1.0, self._gain(p, q, r)), 0.0)
        self.level = torch.lerp(self.level, z, k)
        self.spread = torch.where(first, p0, (1.0 - k) * p)
        self.seen = self.seen + counts
        self.loosened.zero_()
        return counts if self.kind == "xbn" else self.seen > 0

    def reinflate(self) -> None:
        """Be as uncertain as after the first observation."""
        self.loosened.fill_(1)

    def _gain(self, p: Tensor, q: Tensor, r: Tensor) -> Tensor:
        if self.kind == "xbn":
            return torch.ones_like(p)
        return gain(p, r) if self.kind == "adaptive" else steady_gain(q, r).expand_as(p)

    def _variances(self, worth: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, r and p0 for means and stds, broadcasting to (2, D); std: (D,) of a dimension, worth: of the batch."""
        q, r, p0 = (torch.as_tensor(v, dtype=std.dtype, device=std.device) for v in (self.q, self.r, self.p0))
        if self.noise == "scalar":
            return q, r * (self.min_effective / worth).clamp_min(1.0), p0
        variance = std * std
        error = torch.stack((variance / worth, variance / (2.0 * (worth - 1.0).clamp_min(0.5))))
        return q * variance.mean(), r * error, p0 * error

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MomentFilter:
        apply_but_keep(self, super()._apply, fn, ("level", "spread", "seen"), ("loosened",))
        return self

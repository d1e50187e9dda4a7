"""What the mean and the spread of the present embedding are, from batches that each show them with an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fashreg_acbn.kalman import kalman_gain, steady_gain
from fashreg_acbn.moments import Moments, small_sample_factor
from fashreg_acbn.precise import apply_but_keep

_TWO = 1.5  # a batch worth less says nothing about the spread


class MomentFilter(nn.Module):
    """Two filters a dimension, one for the mean and one for the standard deviation; options as in ACBNMemory.

    level: (2, D), the estimates. spread: their variances p, (2,) or with principled noise (2, D). seen: (2,),
    observations so far. loosened: 1 when the next observation finds variance p0. The first observation is taken whole,
    with p = p0 and no update. What is one number for all dimensions stays on the host.
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
        self.register_buffer("level", torch.zeros(2, width, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros((2,) if noise == "scalar" else (2, width), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("loosened", torch.zeros((), dtype=torch.int64))

    def observe(self, now: Moments) -> bool:
        """Take in a batch's moments. True when there is a std to move the memory to; a mean there always is."""
        worth = now.effective
        std = now.std * small_sample_factor(worth) if self.unbiased else now.std
        z = torch.stack((now.mean, std)).to(self.level)
        counts = (True, worth >= (max(self.min_effective, _TWO) if self.kind == "xbn" else _TWO))
        seen, loosened = self.seen.tolist(), bool(self.loosened)
        spread: list[Any] = self.spread.tolist() if self.noise == "scalar" else list(self.spread.unbind())
        gains: list[Any] = [0.0, 0.0]  # of an observation that does not count
        for i, (q, r, p0) in enumerate(self._variances(worth, self.level[1] if seen[1] else z[1])):
            p = p0 if loosened else spread[i]
            if not counts[i]:
                spread[i] = p + q
            elif not seen[i]:
                gains[i], spread[i] = 1.0, p0
            elif self.kind == "adaptive":
                gains[i], spread[i] = kalman_gain(p, q, r)
            else:
                gains[i] = steady_gain(q, r) if self.kind == "ema" else 1.0
        self._move(z, gains)
        self.spread.copy_(self.spread.new_tensor(spread) if self.noise == "scalar" else torch.stack(spread))
        self.seen.add_(1 if all(counts) else torch.tensor(counts))
        if loosened:
            self.loosened.zero_()
        return counts[1] if self.kind == "xbn" else bool(seen[1] or counts[1])

    def _move(self, z: Tensor, gains: list[Any]) -> None:
        """Bring both levels towards z (2, D) by their gains, each a number or (D,): 1 gives z, 0 changes nothing."""
        if any(isinstance(k, Tensor) for k in gains):
            self.level.lerp_(z, torch.stack([torch.as_tensor(k).to(z).expand_as(z[0]) for k in gains]))
        elif gains[0] == gains[1]:  # as nearly always: the two filters have the same variances
            self.level.lerp_(z, gains[0])
        else:
            self.level.lerp_(z, z.new_tensor(gains)[:, None])

    def reinflate(self) -> None:
        """Be as uncertain as after the first observation."""
        self.loosened.fill_(1)

    def _variances(self, worth: float, std: Tensor) -> list[tuple[Any, Any, Any]]:
        """q, r and p0 of the filter of means and of that of stds; std: (D,) of a dimension, worth: of the batch."""
        if self.noise == "scalar":
            return [(self.q, self.r * max(1.0, self.min_effective / worth), self.p0)] * 2
        variance = std * std
        q = self.q * variance.mean()
        errors = (variance / worth, variance / max(2.0 * (worth - 1.0), 1.0))
        return [(q, self.r * error, self.p0 * error) for error in errors]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MomentFilter:
        small = self.noise == "scalar"
        wide, host = (("level",), ("spread",)) if small else (("level", "spread"), ())
        apply_but_keep(self, super()._apply, fn, wide, (*host, "seen", "loosened"))
        return self

"""A scalar Kalman filter for quantities that walk at random and are seen through noise, applied number by number.

Model: the truth moves by a step of variance q, an observation z of it has an error of variance r.

    predict   p- = p + q
    gain      K  = p- / (p- + r)
    update    m' = m + K (z - m),    p' = (1 - K) p-

Only q/r and the first p/r matter. In the long run K tends to a limit L with q/r = L^2 / (1 - L): an exponential average
whose gain is right from the first step on. With q = 0 and p = r after the first observation, m is the running mean.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor)  # one for all dimensions, or one a dimension


def gain(p: Number, r: Number) -> Number:
    """Share K of the way towards the observation: p / (p + r), and 1 where both are 0."""
    if isinstance(p, Tensor):
        return torch.where(p + r > 0, p / (p + r), 1.0)
    return p / (p + r) if p + r > 0 else 1.0


def kalman_gain(p: Number, q: Number, r: Number) -> tuple[Number, Number]:
    """The gain K of an estimate with variance p, and the variance after its update. Needs no observation."""
    p = p + q
    k = gain(p, r)
    return k, (1.0 - k) * p


def kalman_step(m: Tensor, p: Number, z: Tensor, q: Number, r: Number) -> tuple[Tensor, Number, Number]:
    """Estimate m with variance p, and an observation z of it: the new m and p, and the gain K."""
    k, p = kalman_gain(p, q, r)
    return torch.lerp(m, z, k), p, k


def steady_gain(q: Number, r: Number) -> Number:
    """The gain that `kalman_step` tends to: p- = (q + sqrt(q^2 + 4 q r)) / 2 divided by p- + r."""
    p: Number = (q + (q * q + 4.0 * q * r) ** 0.5) / 2.0
    return gain(p, r)

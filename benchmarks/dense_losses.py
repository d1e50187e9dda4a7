"""Losses written densely in plain torch: the arms "plain", "floor" and "dense" of the benchmarks of losses.

s: (B, N) similarities of the batch to what it is compared with. p, n: (B, N) bool, the positive and negative pairs; a
row and itself are neither.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

NEVER = -1e30


def contrastive(s: Tensor, p: Tensor, n: Tensor) -> Tensor:
    """Divided by the anchors."""
    return (torch.where(p, 1 - s, 0.0) + torch.where(n & (s > 0.5), s, 0.0)).sum() / len(s)


def contrastive_hinge(s: Tensor, p: Tensor, n: Tensor) -> Tensor:
    """Divided by the pairs, as pytorch-metric-learning has it."""
    far = n & (s > 0.5)
    near = torch.where(p, 1 - s, 0.0).sum() / p.sum()
    return near + torch.where(far, s - 0.5, 0.0).sum() / far.sum().clamp(1)


def multi_similarity(s: Tensor, p: Tensor, n: Tensor) -> Tensor:
    """alpha 2, beta 50, base 0.5."""
    near = torch.logsumexp((-2 * (s - 0.5)).masked_fill(~p, NEVER), 1)
    far = torch.logsumexp((50 * (s - 0.5)).masked_fill(~n, NEVER), 1)
    return (softplus(near) / 2 + softplus(far) / 50).mean()


def mined(s: Tensor, p: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative pairs that multi-similarity's mining keeps, epsilon 0.1."""
    fixed = s.detach()
    farthest = fixed.masked_fill(~p, 2).amin(1, keepdim=True)
    nearest = fixed.masked_fill(~n, -2).amax(1, keepdim=True)
    return p & (fixed - 0.1 < nearest), n & (fixed + 0.1 > farthest)


def infonce(s: Tensor, p: Tensor, neither: Tensor) -> Tensor:
    """SupCon at temperature 0.1. neither: (B, N) bool, the pairs that are neither positive nor negative."""
    x = s / 0.1
    log = torch.logsumexp(x.masked_fill(neither, NEVER), 1)
    return (log - (x * p).sum(1) / p.sum(1)).mean()

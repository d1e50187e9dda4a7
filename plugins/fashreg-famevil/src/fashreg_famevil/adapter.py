"""The small module that tells one task from another: a bottleneck beside a block's MLP."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BottleneckAdapter(nn.Module):
    """s * (W_up ReLU(W_down LN(x) + c_down) + c_up): what is added to a block's output, and 0 at the start.

    The norm is the adapter's own. W_down is Kaiming-uniform, everything that follows it is 0 and s is 1, so a fresh
    adapter changes nothing, to the bit. It gives the change only; whoever calls adds it.

    Source: Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS 2022,
        https://arxiv.org/abs/2205.13535; as used by Han et al., CVPR 2023, https://arxiv.org/abs/2303.02483 (eq. 4)

    Args:
        width: d, of the tokens.
        bottleneck: b. Parameters: 2 d b + b + 3 d + 1.
    """

    def __init__(self, width: int, bottleneck: int = 64) -> None:
        super().__init__()
        self.width, self.bottleneck = width, bottleneck
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d), the change."""
        change: Tensor = self.up(torch.relu(self.down(self.norm(x))))
        if torch.is_grad_enabled() or change.dtype != self.scale.dtype:
            return self.scale * change
        return change.mul_(self.scale)  # the same numbers, and no further tensor


def added(x: Tensor, change: Tensor) -> Tensor:
    """x + change; where nobody asks for gradients, in the place of x, which must be the caller's own."""
    return x + change if torch.is_grad_enabled() or x.dtype != change.dtype else x.add_(change)

"""The path between the towers: tokens of one ask the tokens of the other."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from fashreg_famevil.adapter import BottleneckAdapter
from fashreg_famevil.towers import split_heads


class Context(NamedTuple):
    """Keys and values (B, h, N, d / h) of the tokens that are asked, and which of them count: (B, N) bool or None."""

    keys: Tensor
    values: Tensor
    valid: Tensor | None = None


class CrossAttentionAdapter(nn.Module):
    """Attention of a stream x (width d) over another stream y (width c), and a bottleneck adapter after it.

    Q = W_q LN(x), K = W_k LN(y), V = W_v LN(y); per head softmax(Q K^T / sqrt(d / h)) V; heads side by side go into the
    adapter, which takes the place of an output projection and is 0 at the start. What comes out is added to the block.

    Source: Han et al., "FAME-ViL", CVPR 2023, https://arxiv.org/abs/2303.02483 (cross-attention adapter)

    Args:
        width: d, of the asking stream.
        context: c, of the other.
        heads: h.
        bottleneck: of the adapter. Parameters: d^2 + 2 c d + 5 d + 2 c and the adapter's.
    """

    def __init__(self, width: int, context: int, heads: int, bottleneck: int = 64) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be divided into {heads} heads")
        self.heads = heads
        self.norm_query, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(context)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(context, width), nn.Linear(context, width)
        for linear in (self.query, self.key, self.value):
            nn.init.zeros_(linear.bias)
        self.adapter = BottleneckAdapter(width, bottleneck)

    def context_of(self, y: Tensor, valid: Tensor | None = None) -> Context:
        """What forward asks, of tokens (B, N, c). valid: (B, N) bool, those that count; None: all."""
        normed = self.norm_context(y)
        return Context(self._split(self.key(normed)), self._split(self.value(normed)), valid)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, N, d) -> (B, N, d), the change."""
        mask = None if context.valid is None else context.valid[:, None, None, :]
        asked = F.scaled_dot_product_attention(
            self._split(self.query(self.norm_query(x))), context.keys, context.values, attn_mask=mask
        )
        change: Tensor = self.adapter(asked.transpose(1, 2).flatten(2))
        return change

    def _split(self, x: Tensor) -> Tensor:
        return split_heads(x, self.heads)

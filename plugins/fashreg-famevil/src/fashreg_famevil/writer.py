"""What names the next token: a matrix of its own, or CLIP's own table of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashreg_famevil.few_rows import linear_of_few


class Writer(nn.Linear):
    """W h + b for every token: nn.Linear, faster for a handful of captions (`few_rows`)."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., d) -> (..., V)."""
        return linear_of_few(hidden, self.weight, self.bias)


class TokenScores(nn.Module):
    """s E W h, a score for every token: E (V, d) is CLIP's table of tokens, W (d, d) and s are this task's own.

    E is given with each call and belongs to the CLIP: it is stored once, and learns or rests with it. W is the identity
    at the start, and s brings the rows of E to length 1, which is far from them: scores then differ by about 1, and W
    learns as fast as a matrix of its own would.

    Args:
        table: E.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        width = table.shape[1]
        self.turn = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.turn.weight)
        self.scale = nn.Parameter(table.detach().square().sum(dim=1).mean().rsqrt()[None])

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """(..., d) -> (..., V)."""
        return F.linear(self.scale * self.turn(hidden), table)


class Offsets(nn.Module):
    """b: what is added to scores that the trunk has made, one number for every token.

    Args:
        vocabulary: V.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, scores: Tensor) -> Tensor:
        """(..., V) -> (..., V)."""
        return scores + self.bias

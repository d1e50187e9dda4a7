"""What names the next token: a matrix of its own, or CLIP's own table of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW = 8  # rows; of more, the usual product is as fast


class Writer(nn.Linear):
    """W h + b for every token, as nn.Linear; with a few rows on a CPU with MKL, W is the left factor.

    A caption at a time, or a handful, is all reading W: MKL does that up to three times faster from that side.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., d) -> (..., V)."""
        few = hidden.ndim == 2 and 1 < len(hidden) <= _FEW and hidden.device.type == "cpu"
        plain = hidden.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if few and plain and not torch.is_grad_enabled() and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            return torch.addmm(self.bias[:, None], self.weight, hidden.T).T
        return F.linear(hidden, self.weight, self.bias)


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

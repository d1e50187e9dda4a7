"""What stands in the loss's place where a learner brings a loss of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class OwnLoss(nn.Module):
    """No parameters, no needs, and not to be called: the learner's `objective` makes the scalar."""

    accepts_references = True
    lr_factor = 1.0
    needs: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.parts: Mapping[str, Tensor] = {}

    def forward(self, *args: Any, **named: Any) -> Tensor:
        """Always an error: who calls it took it for a loss."""
        raise RuntimeError("this learner has a loss of its own: override `objective`, and do not call session.loss")

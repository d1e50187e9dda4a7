"""An exponential moving average of a network's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Ema:
    """average <- d average + (1 - d) weights after every step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The ramp lets the average forget the untrained weights. Follows parameters that are trained and floating-point
    buffers (batch-norm statistics); everything else is taken from the network as it is.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._followed = _followed(network)
        self.average = {name: value.detach().clone() for name, value in self._followed.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's present weights."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, value in self._followed.items():
            self.average[name].lerp_(value.detach(), 1.0 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def copy_to(self) -> None:
        """Give the network the averaged weights for good."""
        for name, value in self._followed.items():
            value.copy_(self.average[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._followed.items():
            other = self.average[name].clone()
            self.average[name].copy_(value)
            value.copy_(other)

    def state_dict(self) -> dict[str, object]:
        """Everything a later run needs."""
        return {"steps": self.steps, "average": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from `state_dict()` of the same network."""
        average = state["average"]
        if not isinstance(average, Mapping) or set(average) != set(self.average):
            raise ValueError("the averaged weights of the checkpoint belong to another network")
        self.steps = int(str(state["steps"]))
        for name, value in average.items():
            self.average[name].copy_(value)


def _followed(network: nn.Module) -> dict[str, Tensor]:
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    kept = network.state_dict().keys()  # what is not kept is no statistic: masks with infinities, tables of positions
    return trained | {name: b for name, b in network.named_buffers() if b.is_floating_point() and name in kept}

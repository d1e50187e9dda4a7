"""What the contract suites do with the state of a module: copy it, compare it, move it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state, as a checkpoint holds it."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """True when two states have the same names and bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def shaken(module: nn.Module) -> None:
    """Move every floating tensor of the state a little, so that nothing is zero, one or untouched any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand(tensor.shape, generator=generator))
                tensor.add_(0.01 * torch.rand(tensor.shape, generator=generator))

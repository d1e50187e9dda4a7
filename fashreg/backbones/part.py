"""Keep a few stages of a backbone and take the rest out, so that what is not used is neither saved nor counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def keep_stages(backbone: Any, start: int, stop: int) -> None:
    """Take every module out of `backbone` that holds nothing of stages start..stop-1. What is left runs as before.

    A module becomes an Identity, a parameter or buffer that its owner holds directly becomes None. Doing it twice
    changes nothing more. Raises ValueError for stages that the backbone does not have.
    """
    if not 0 <= start <= stop <= len(backbone.stages):
        raise ValueError(
            f"stages {start} to {stop}: this backbone has {len(backbone.stages)} ({', '.join(backbone.stages)})"
        )
    owned = (backbone.stage_modules(index) for index in range(start, stop))
    _take_out(backbone, {id(tensor) for modules in owned for module in modules for tensor in _tensors(module)})


def _take_out(module: nn.Module, kept: set[int]) -> None:
    for name, child in list(module.named_children()):
        held = {id(tensor) for tensor in _tensors(child)}
        if held and held.isdisjoint(kept):
            setattr(module, name, nn.Identity())
        elif held:
            _take_out(child, kept)
    for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if id(tensor) not in kept:
            setattr(module, name, None)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()

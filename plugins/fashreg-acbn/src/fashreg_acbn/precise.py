"""Buffers that keep their precision, and counters that stay on the host, when a module is moved or cast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.functional.similarity import totals_dtype


def apply_but_keep(
    module: nn.Module,
    apply: Callable[[Callable[[Tensor], Tensor]], Any],
    fn: Callable[[Tensor], Tensor],
    wide: Iterable[str],
    host: Iterable[str],
) -> None:
    """Run `apply(fn)`, the `_apply` of the module's parent class, without the buffers named.

    wide: follow to the device in double precision, where that has one. host: stay as and where they are.
    """
    kept = {name: getattr(module, name) for name in (*wide, *host)}
    for name in kept:
        setattr(module, name, None)
    apply(fn)
    for name, buffer in kept.items():
        if name not in host:
            there = fn(torch.empty(0, device=buffer.device))
            buffer = buffer.to(there.device, totals_dtype(there))
        setattr(module, name, buffer)

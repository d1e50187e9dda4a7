"""A limit on what building a model may allocate, so that a hostile config cannot fill the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fashreg.errors import ModelError

_FACTORIES = {
    torch.empty,
    torch.empty_like,
    torch.zeros,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.full,
    torch.eye,
    torch.arange,
    torch.zeros_like,
    torch.ones_like,
    torch.rand_like,
    torch.randn_like,
    torch.full_like,
    torch.clone,
    torch.Tensor.clone,
    torch.Tensor.new_empty,
    torch.Tensor.new_zeros,
    torch.Tensor.new_ones,
    torch.Tensor.new_full,
}
_LIKE = {
    torch.empty_like,
    torch.zeros_like,
    torch.ones_like,
    torch.rand_like,
    torch.randn_like,
    torch.full_like,
    torch.clone,
    torch.Tensor.clone,
}
_LEAST = 2**15  # bytes that a tensor counts at least: many tiny ones cost time


class Budget(TorchFunctionMode):
    """Within the block, torch's factory functions together may make at most `limit` bytes; then ModelError.

    The error is raised before the memory is asked for. A tensor counts as 32 KiB at least, so that their number is
    limited too. Conversions and arithmetic are not counted: the limit stops what a few numbers in a config can ask for,
    and is no sandbox.
    """

    def __init__(self, limit: int, name: str) -> None:
        super().__init__()
        self.limit, self.name, self.spent = limit, name, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count, then do what was asked."""
        given = dict(kwargs or {})
        if func in _FACTORIES:
            size = (given.get("dtype") or torch.get_default_dtype()).itemsize
            self.spent += max(_LEAST, _numbers(func, args, given) * size)
            if self.spent > self.limit:
                raise ModelError(
                    f"{self.name} describes a model of more than {self.limit:,} bytes, far more than its weights file "
                    "holds: it is damaged, or not what it says"
                )
        return func(*args, **given)


def _numbers(func: Callable[..., Any], args: tuple[Any, ...], given: Mapping[str, Any]) -> int:
    """How many numbers the tensor will hold, from the arguments of a factory function."""
    if func in _LIKE:
        return int((args[0] if args else given["input"]).numel())
    if func.__name__.startswith("new_"):  # a method: its tensor comes first
        args = args[1:]
    if func is torch.arange:
        limits = [float(a) for a in args if isinstance(a, int | float)] or [0.0]
        start, stop, step = (0.0, limits[0], 1.0) if len(limits) == 1 else (*limits[:2], (*limits, 1.0)[2])
        return max(0, math.ceil((stop - start) / (step or 1.0)))
    first = given.get("size", args[0] if args else 0)
    size = tuple(first) if isinstance(first, tuple | list | torch.Size) else tuple(a for a in args if type(a) is int)
    if func is torch.eye:
        size = (*size, *size)[:2]
    return math.prod(int(n) for n in size) if size else 1

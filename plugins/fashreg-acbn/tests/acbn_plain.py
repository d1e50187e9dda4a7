"""The slow, obvious form of the memory: plain numbers, every row rewritten in place at every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from fashreg_acbn.memory import ACBNMemory
from torch import Tensor

from fashreg.values import Embedded


def batch_of(rows: Any, labels: Any = None, first: int = 0) -> Embedded:
    """Rows as a batch with ids first, first + 1, ...; the labels are the ids unless given."""
    vectors = torch.as_tensor(rows)
    ids = torch.arange(first, first + len(vectors))
    return Embedded(vectors, ids.clone() if labels is None else torch.as_tensor(labels), ids)


def plain_xbn(capacity: int, width: int, **options: Any) -> ACBNMemory:
    """The textbook form: no warm-up, no length, no correction, no guard for small batches."""
    chosen = {"kind": "xbn", "placement": "raw", "unbiased": False, "min_effective": 1.0, "start_step": 0, **options}
    return ACBNMemory(capacity, embed_dim=width, **chosen)


def wide_rows(memory: ACBNMemory) -> Tensor:
    """The rows as they stand, before normalisation, in double precision."""
    return memory.emb[: len(memory)].double() * memory.scale + memory.shift


def worth(rows: list[list[float]], labels: list[int]) -> float:
    """Independent rows that a batch is worth, by loops."""
    b, width = len(rows), len(rows[0])
    mean = [sum(row[d] for row in rows) / b for d in range(width)]
    own = sum((row[d] - mean[d]) ** 2 for row in rows for d in range(width)) / b
    classes = sorted(set(labels))
    if len(classes) == 1:
        return 1.0
    of_mean = 0.0
    for c in classes:
        for d in range(width):
            of_mean += (sum(row[d] - mean[d] for row, label in zip(rows, labels, strict=True) if label == c) / b) ** 2
    of_mean *= len(classes) / (len(classes) - 1)
    return min(float(b), max(1.0, (own + of_mean) / of_mean)) if of_mean > 0 else float(len(classes))


class InPlace:
    """kind, q, r, p0 and min_effective as in ACBNMemory, with scalar noise and raw rows; no clamps are needed here."""

    def __init__(self, capacity: int, kind: str, q: float, r: float, p0: float, min_effective: float) -> None:
        self.capacity, self.kind, self.q, self.r, self.p0 = capacity, kind, q, r, p0
        self.min_effective = min_effective
        self.rows: list[list[float]] = []
        self.level: dict[str, list[float]] = {}
        self.p: dict[str, float] = {}

    def align(self, batch: Embedded) -> None:
        rows, b = batch.vectors.double().tolist(), len(batch)
        width, n = len(rows[0]), len(self.rows)
        value = worth(rows, batch.labels.tolist())
        mean = [sum(row[d] for row in rows) / b for d in range(width)]
        std = [math.sqrt(sum((row[d] - mean[d]) ** 2 for row in rows) / b) for d in range(width)]
        self._observe("mean", mean, value)
        spread_known = value >= max(1.5, self.min_effective if self.kind == "xbn" else 0.0)
        if spread_known:
            self._observe("std", std, value)
        elif "std" in self.level:
            self.p["std"] += self.q  # it walks on unseen
        if n < min(2 * b, self.capacity):
            return
        if self.kind != "xbn":
            spread_known = "std" in self.level
        for d in range(width):
            centre = sum(row[d] for row in self.rows) / n
            own = math.sqrt(sum((row[d] - centre) ** 2 for row in self.rows) / n)
            factor = min(4.0, max(0.25, self.level["std"][d] / own)) if spread_known else 1.0
            for row in self.rows:
                row[d] = (row[d] - centre) * factor + self.level["mean"][d]

    def push(self, batch: Embedded) -> None:
        self.rows = (self.rows + batch.vectors.double().tolist())[-self.capacity :]

    def _observe(self, name: str, z: list[float], value: float) -> None:
        if name not in self.level:
            self.level[name], self.p[name] = z, self.p0
            if self.kind == "adaptive":
                return
        r = self.r * max(1.0, self.min_effective / value)
        p = self.p[name] + self.q
        if self.kind == "ema":
            p = (self.q + math.sqrt(self.q**2 + 4 * self.q * r)) / 2
        k = 1.0 if self.kind == "xbn" else (p / (p + r) if p + r else 1.0)
        self.level[name] = [m + k * (x - m) for m, x in zip(self.level[name], z, strict=True)]
        self.p[name] = (1 - k) * p

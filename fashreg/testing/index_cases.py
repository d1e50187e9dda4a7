"""Rows, ids and the plain reference that the contract of an index asks with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fashreg.testing.rows import unit_rows
from fashreg.values import Rankings

N, D = 40, 8
HUGE = 2**53 + 1  # the first integer that float64 cannot hold


def rows(n: int = N, seed: int = 0) -> Tensor:
    """(n, 8) rows of length 1."""
    return unit_rows(n, D, seed)


def ids_of(n: int = N, seed: int = 0) -> Tensor:
    """n ids in no order; one is 0, and one is beyond what a float can hold."""
    ids = 1 + torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))[:n]
    if n > 2:
        ids[n // 2], ids[n // 3] = HUGE, 0
    return ids


def filled(index: Any, n: int = N) -> Any:
    """The index with n rows."""
    index.add(rows(n), ids_of(n))
    return index


def plain_search(
    queries: Tensor, gallery: Tensor, ids: Tensor, k: int, own: Sequence[int] = (), allowed: Sequence[int] | None = None
) -> tuple[list[list[int]], list[list[float]]]:
    """Every pair scored in fp64 and sorted by (larger score, smaller id)."""
    found = []
    for q, query in enumerate(queries.double()):
        pairs = [(-round(float(query @ g), 6), int(i)) for g, i in zip(gallery.double(), ids, strict=True)]
        kept = [p for p in pairs if (not own or p[1] != own[q]) and (allowed is None or p[1] in allowed)]
        found.append((sorted(kept)[:k] + [(torch.inf, -1)] * k)[:k])
    return [[i for _, i in row] for row in found], [[-s for s, _ in row] for row in found]


def agrees(found: Rankings, ids: list[list[int]], scores: list[list[float]]) -> bool:
    """Right ids in the right order, right scores, right types."""
    types = (found.ids.dtype, found.scores.dtype) == (torch.int64, torch.float32)
    return types and found.ids.tolist() == ids and torch.allclose(found.scores, torch.tensor(scores), atol=2e-6)

"""Small made-up rows that the contract suites feed to components: the same for the same arguments, always."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fashreg.values import Embedded


def unit_rows(n: int, width: int = 4, seed: int = 0) -> Tensor:
    """(n, width) float32 rows of length 1."""
    rows = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def numbered(n: int, first: int = 0, width: int = 4, label: int | None = None) -> Embedded:
    """n unit rows with ids first, first + 1, ...; the labels are the ids, or all `label`."""
    ids = torch.arange(first, first + n)
    labels = ids.clone() if label is None else torch.full((n,), label, dtype=torch.int64)
    vectors = torch.cat([unit_rows(1, width, seed=i) for i in ids.tolist()]) if n else torch.zeros(0, width)
    return Embedded(vectors, labels, ids)


def joined(batches: Sequence[Embedded], keep: int | None = None) -> Embedded:
    """The rows of all batches in order; only the last `keep` of them if given."""
    last = slice(None if keep is None else -keep, None)
    return Embedded(
        torch.cat([b.vectors for b in batches])[last],
        torch.cat([b.labels for b in batches])[last],
        torch.cat([b.ids for b in batches])[last],
    )


def same_rows(found: Embedded, wanted: Embedded, tolerance: float) -> bool:
    """True when both hold the same (label, vector) rows in any order; the labels must be unique."""
    one, other = found.labels.argsort(), wanted.labels.argsort()
    return torch.equal(found.labels[one], wanted.labels[other]) and torch.allclose(
        found.vectors[one].double(), wanted.vectors[other].double(), atol=tolerance, rtol=0
    )

"""Means over parts of the queries: per class, per attribute value, per source, per whatever column there is.

A mean over few queries says little, so each comes with its support, and the worst slice is looked for only among those
with enough of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ENOUGH = 10  # support below which a slice is never called the worst, unless asked for


@dataclass(frozen=True, slots=True, eq=False)
class SliceMeans:
    """One metric by slice; S slices in ascending order of their code.

    codes: (S,) int64. means: (S,) float64, NaN where no query counts. support: (S,) int64, the queries that count, i.e.
    have relevant items. queries: (S,) int64, all queries of the slice.
    """

    codes: Tensor
    means: Tensor
    support: Tensor
    queries: Tensor

    def __len__(self) -> int:
        return int(self.codes.shape[0])

    def worst(self, count: int = 1, *, min_support: int = ENOUGH) -> Tensor:
        """Positions of the worst slices that `min_support` queries or more support, worst first.

        At most `count` of them, perhaps none. Equal means are ordered by the larger support, then by the smaller code.
        """
        if count < 1 or min_support < 1:
            raise ValueError(f"count and min_support must be at least 1, got {count} and {min_support}")
        enough = (self.support >= min_support).nonzero().flatten()
        enough = enough[self.support[enough].argsort(descending=True, stable=True)]
        return enough[self.means[enough].argsort(stable=True)][:count]

    def macro(self, *, min_support: int = 1) -> float:
        """Plain mean over slices: every slice has one voice, where a mean over queries is ruled by the large ones.

        ValueError when no slice has the support.
        """
        enough = self.support >= max(1, min_support)
        if not enough.any():
            raise ValueError(f"none of the {len(self)} slices has {max(1, min_support)} queries that count")
        return float(self.means[enough].mean())


def slice_means(values: Tensor, codes: Tensor) -> SliceMeans:
    """The mean of a metric in every slice.

    values: (Q,) float, one metric per query, NaN for a query that does not count. codes: (Q,) int64, the slice of each
    query (a class, an attribute value); a query with a negative code belongs to none.
    """
    if codes.dtype.is_floating_point or codes.dtype.is_complex or codes.dtype == torch.bool or codes.ndim != 1:
        raise ValueError(f"codes must be one row of integers, got {codes.dtype} {tuple(codes.shape)}")
    if values.shape != codes.shape:
        raise ValueError(f"{len(codes)} codes need as many values, got {tuple(values.shape)}")
    inside = codes >= 0
    names, slot, queries = torch.unique(codes[inside].long(), return_inverse=True, return_counts=True)
    values = values[inside].double()
    known = ~values.isnan()
    support = torch.bincount(slot[known], minlength=len(names))
    total = torch.bincount(slot[known], values[known], minlength=len(names)).double()
    means = torch.where(support > 0, total / support, torch.nan)
    return SliceMeans(names, means, support, queries)

"""Where the relevant items of each query stand in its ranking: all that binary and graded metrics need to know.

Kept as the ranks of the hits alone, so a whole ranking of a million items costs as much as its relevant items, and the
metrics of a short ranking and of a whole one are the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The ranked hits of Q queries, by query.

    offsets: (Q + 1,) int64: query q's hits are at offsets[q]:offsets[q + 1]. ranks: (H,) int64, 1 = first, ascending
    within a query. gains: (H,) float64 > 0 beside them, the grade of each hit; None for binary relevance.
    counts: (Q,) int64, R: relevant items of each query, itself and what was excluded left out. items: (Q,) int64, how
    many items could be ranked for it (padding left out). depth: how many ranks were seen; None: all of them.
    """

    offsets: Tensor
    ranks: Tensor
    counts: Tensor
    items: Tensor
    depth: int | None = None
    gains: Tensor | None = None

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def owners(self) -> Tensor:
        """(H,) int64: the query of each hit."""
        sizes = self.offsets.diff()
        return torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)

    def places(self) -> Tensor:
        """(H,) int64: which hit of its query each one is, 1 = the first. Precision at a hit is places / ranks."""
        return torch.arange(1, len(self.ranks) + 1, device=self.ranks.device) - self.offsets[self.owners()]

    def sums(self, values: Tensor) -> Tensor:
        """(Q,) float64: the sum of `values` (H,) over the hits of each query, in the order of the hits."""
        if not len(self):
            return values.new_zeros(0, dtype=torch.float64)
        return torch.segment_reduce(values.double(), "sum", offsets=self.offsets)

    def unseen(self) -> Tensor:
        """(Q,) bool: some relevant item lies beyond the ranks that were seen (or outside the gallery).

        A ranking that ends in padding holds all there was, so nothing is unseen then.
        """
        if self.depth is None:
            return torch.zeros_like(self.counts, dtype=torch.bool)
        return (self.offsets.diff() < self.counts) & (self.items >= self.depth)


def judged_from_hits(
    found: Tensor, counts: Tensor, items: Tensor | None = None, gains: Tensor | None = None, *, whole: bool = False
) -> Judged:
    """From hits written out, best first: found (Q, K) bool, gains (Q, K) or None. items: default K for every query.

    whole: the K ranks are all there are.
    """
    owner, place = found.nonzero(as_tuple=True)
    sizes = torch.bincount(owner, minlength=len(found))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    items = torch.full_like(counts, found.shape[1]) if items is None else items
    kept = None if gains is None else gains[owner, place].double()
    return Judged(offsets, place + 1, counts, items, None if whole else int(found.shape[1]), kept)


def joined(parts: Sequence[Judged]) -> Judged:
    """Blocks of queries, one after another, as one. They saw equally many ranks, and all or none have gains."""
    if not parts:
        raise ValueError("there is no block of judged queries to join")
    first = parts[0]
    if any(p.depth != first.depth or (p.gains is None) != (first.gains is None) for p in parts):
        raise ValueError(
            "blocks of judged queries join when they saw equally many ranks, all with gains or all without"
        )
    sizes = torch.cat([p.offsets.diff() for p in parts])
    gains = [p.gains for p in parts if p.gains is not None]
    return Judged(
        torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        torch.cat([p.ranks for p in parts]),
        torch.cat([p.counts for p in parts]),
        torch.cat([p.items for p in parts]),
        first.depth,
        torch.cat(gains) if gains else None,
    )

"""Where the relevant items of each query stand in its ranking: all that binary and graded metrics need to know.

Kept as the ranks of the hits alone, so a whole ranking of a million items costs as much as its relevant items, and the
metrics of a short ranking and of a whole one are the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass

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

"""Which gallery rows a query may not find: itself, and what comes from its own source (camera, shop, shoot)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Excluded:
    """own: (Q,) int64, the gallery row of the query itself, -1 for none; None when nobody is in the gallery.

    query_sources: (Q,), gallery_sources: (N,) int32 codes, or None; a query code below 0 excludes nothing.
    """

    own: Tensor | None = None
    query_sources: Tensor | None = None
    gallery_sources: Tensor | None = None

    def of(self, rows: Tensor) -> Excluded:
        """The same for some of the queries."""
        own = None if self.own is None else self.own[rows]
        asked = None if self.query_sources is None else self.query_sources[rows]
        return Excluded(own, asked, self.gallery_sources)

    def own_within(self, rows: slice, start: int, stop: int) -> Tensor | None:
        """(q,): where each of these queries stands itself, counted from `start`; -1 outside, None when all are."""
        if self.own is None:
            return None
        own = self.own[rows]
        inside = (own >= start) & (own < stop)
        return torch.where(inside, own - start, -1) if inside.any() else None

    def cover(self, scores: Tensor, rows: slice, columns: Tensor, own: Tensor | None, value: float) -> None:
        """Write `value` over the scores (q, n) that do not count.

        columns: (n,) gallery rows, any where there is padding. own: (q,) the column of the query itself; outside 0..n
        or None where it has none.
        """
        if own is not None:
            at = ((own >= 0) & (own < scores.shape[1])).nonzero().flatten()
            scores[at, own[at]] = value
        if self.query_sources is not None and self.gallery_sources is not None:
            asked, sources = self.query_sources[rows, None], self.gallery_sources[columns]
            scores.masked_fill_((asked == sources) & (asked >= 0), value)

    def allows(self, owner: Tensor, columns: Tensor) -> Tensor:
        """(P,) bool for single pairs: query owner[p] and gallery row columns[p] >= 0."""
        allowed = torch.ones_like(columns, dtype=torch.bool)
        if self.own is not None:
            allowed &= self.own[owner] != columns
        if self.query_sources is not None and self.gallery_sources is not None:
            asked = self.query_sources[owner]
            allowed &= (asked != self.gallery_sources[columns]) | (asked < 0)
        return allowed


def source_codes(query_sources: Tensor | None, gallery_sources: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Sources of any integers as int32 codes, which compare faster; negative ones as -1 and -2, equal to nothing."""
    if query_sources is None or gallery_sources is None:
        return None, None
    codes = torch.unique(torch.cat([query_sources, gallery_sources]), return_inverse=True)[1]
    asked, sources = codes.int().split([len(query_sources), len(gallery_sources)])
    return asked.masked_fill(query_sources < 0, -1), sources.masked_fill(gallery_sources < 0, -2)

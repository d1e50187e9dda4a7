"""Where an id stands among the ids of a group, for many ids at once.

Groups are given as offsets (G + 1,) int64 and ids (R,) int64 >= 0: group g's are ids[offsets[g]:offsets[g + 1]],
ascending. `places_in_groups` bisects and needs nothing beside the answer; `GroupLookup` first makes tables of all ids,
which pays where more is asked than there are ids.
"""

from __future__ import annotations

import torch
from torch import Tensor


def places_in_groups(offsets: Tensor, ids: Tensor, wanted: Tensor, group: Tensor) -> Tensor:
    """(Q, K) places of wanted[q, k] within group[q], -1 where it has no such id. wanted: (Q, K), group: (Q,) int64."""
    if not len(ids) or not len(wanted):
        return torch.full_like(wanted, -1)
    low = offsets[group][:, None].expand(wanted.shape)
    end = offsets[group + 1][:, None].expand(wanted.shape)
    high = end
    for _ in range(int(offsets.diff().max()).bit_length()):
        middle = (low + high) // 2
        before = ids[middle.clamp(max=len(ids) - 1)] < wanted
        open_ = low < high
        low, high = torch.where(open_ & before, middle + 1, low), torch.where(open_ & ~before, middle, high)
    at = low.clamp(max=len(ids) - 1)
    return at.masked_fill_((low >= end) | (ids[at] != wanted), -1)


class GroupLookup:
    """Finds (group, id): id -> rank among all ids, then group and rank -> place.

    The first step is a table where ids are about as many as they are large, else a search; the second is a table where
    no id is in two groups, else a search.
    """

    def __init__(self, offsets: Tensor, ids: Tensor) -> None:
        self.ids, rank = torch.unique(ids, return_inverse=True)
        sizes = offsets.diff()
        self.groups = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        self.table = self.place = None
        if len(self.ids) and int(self.ids[-1]) < 4 * len(self.ids):
            self.table = torch.full((int(self.ids[-1]) + 1,), -1, device=sizes.device)
            self.table[self.ids] = torch.arange(len(self.ids), device=sizes.device)
        if len(self.ids) == len(rank):
            self.place = torch.empty_like(rank)
            self.place[rank] = torch.arange(len(rank), device=rank.device)
        else:
            self.keys = self.groups * max(1, len(self.ids)) + rank

    def positions(self, ids: Tensor, group: Tensor) -> Tensor:
        """What `places_in_groups` gives."""
        if not len(self.ids):
            return torch.full_like(ids, -1)
        rank = self._rank(ids)
        if self.place is not None:
            at = self.place[rank]
            found = self.groups[at] == group[:, None]
        else:
            wanted = rank + group[:, None] * len(self.ids)
            at = torch.searchsorted(self.keys, wanted).clamp_(max=len(self.keys) - 1)
            found = self.keys[at] == wanted
        return at.masked_fill_(~found.logical_and_(rank >= 0), -1)

    def _rank(self, ids: Tensor) -> Tensor:
        """Rank of each id among all, -1 for one that is not there."""
        if self.table is not None:
            rank = self.table[ids.clamp(0, len(self.table) - 1)]
            return rank.masked_fill_((ids < 0) | (ids >= len(self.table)), -1)
        rank = torch.searchsorted(self.ids, ids.contiguous()).clamp_(max=len(self.ids) - 1)
        return rank.masked_fill_(self.ids[rank] != ids, -1)

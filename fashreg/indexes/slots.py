"""Where the rows of an index stand in a structure that can only grow."""

from __future__ import annotations

import torch
from torch import Tensor

_SPARSE = 4  # a structure is renewed when more than one slot in so many is empty


class Slots:
    """A structure numbers what it is given 0, 1, 2, ... and never forgets; rows come, change and go.

    Slot s holds row `rows[s]` of the index, or nobody (-1): a row that was deleted, or that has another vector now and
    therefore a newer slot. Most structures cannot delete, or slowly; this costs 8 bytes a slot and works for all.
    """

    def __init__(self) -> None:
        self._rows = torch.zeros(0, dtype=torch.int64)
        self.empty = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def sparse(self) -> bool:
        """Whether so many slots are empty that the structure is better made anew."""
        return self.empty * _SPARSE > len(self._rows)

    @property
    def taken(self) -> Tensor:
        """(S,) bool: the slots that hold a row."""
        return self._rows >= 0

    def take(self, rows: Tensor) -> None:
        """The next slots hold these rows (n,)."""
        self._rows = torch.cat([self._rows, rows])

    def vacate(self, rows: Tensor) -> None:
        """The slots of these rows are empty."""
        self._rows[torch.isin(self._rows, rows)] = -1
        self.empty = int((self._rows < 0).sum())

    def close_gaps(self, stay: Tensor) -> None:
        """Rows where the mask (N,) is false are gone, and the others have moved up."""
        moved = torch.cat([(stay.cumsum(0) - 1).masked_fill_(~stay, -1), torch.tensor([-1])])
        self._rows = moved[self._rows]
        self.empty = int((self._rows < 0).sum())

    def rows_of(self, slots: Tensor) -> Tensor:
        """The row in each slot, -1 for an empty one and for slot -1. Any shape."""
        found = self._rows[slots.clamp(min=0)]
        return found.masked_fill_(slots < 0, -1)

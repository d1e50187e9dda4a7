"""Where the rows of an index stand in a structure that can only grow."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

_SPARSE = 4  # a structure is made anew when more than one slot in so many is empty


class Slots:
    """A structure numbers what it is given 0, 1, 2, ... and never forgets; rows come, change and go.

    Slot s holds row `rows[s]` of the index, or nobody (-1): a row that was deleted, or that has another vector now and
    therefore a newer slot. Most structures cannot delete, or slowly; this works for all, and costs nothing as long as
    slot s holds row s.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None  # None: slot s holds row s
        self._count = self.empty = 0

    @classmethod
    def holding(cls, rows: Tensor) -> Self:
        """Slots that hold these rows (S,), -1 in an empty one."""
        slots = cls()
        slots.take(rows)
        slots.empty = int((rows < 0).sum())
        return slots

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Tensor:
        """(S,) int64: the row in each slot, -1 in an empty one."""
        return torch.arange(self._count) if self._rows is None else self._rows

    @property
    def sparse(self) -> bool:
        """Whether so many slots are empty that the structure is better made anew."""
        return self.empty * _SPARSE > len(self)

    @property
    def taken(self) -> Tensor:
        """(S,) bool: the slots that hold a row."""
        return self.rows >= 0

    def take(self, rows: Tensor) -> None:
        """The next slots hold these rows (n,)."""
        last = self._count + len(rows)
        if self._rows is not None or not torch.equal(rows, torch.arange(self._count, last)):
            self._rows = torch.cat([self.rows, rows])
        self._count = last

    def vacate(self, rows: Tensor) -> None:
        """The slots of these rows are empty."""
        self._set(self.rows.masked_fill(torch.isin(self.rows, rows), -1))

    def close_gaps(self, stay: Tensor) -> None:
        """Rows where the mask (N,) is false are gone, and the others have moved up."""
        moved = torch.cat([(stay.cumsum(0) - 1).masked_fill_(~stay, -1), torch.tensor([-1])])
        self._set(moved[self.rows])

    def rows_of(self, slots: Tensor) -> Tensor:
        """The row in each slot, -1 for an empty one and for slot -1. Any shape."""
        return slots if self._rows is None else self._rows[slots.clamp(min=0)].masked_fill_(slots < 0, -1)

    def _set(self, rows: Tensor) -> None:
        self._rows, self.empty = rows, int((rows < 0).sum())

"""The different pictures and texts of a table: what is embedded once, however many rows name it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.data.table import Table

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Things:
    """n different things of a table. rows: (n,) of each the row with the smallest id, these ids ascending, so that the
    order of the table does not matter. labels: (n,) what says which belong together.

    place: (N,) which of them each row of the table has, -1 = none.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def among(self, mask: Mask | None) -> NDArray[np.int64]:
        """Places of those that some row of the mask has, ascending; all without a mask."""
        if mask is None:
            return np.arange(len(self))
        found = np.unique(self.place[mask])
        return found[found >= 0]


def different(keys: Sequence[Hashable | None], labels: NDArray[np.int64], ids: NDArray[np.int64]) -> Things:
    """Rows of one key and one label are one thing; a row with the key None has none. keys: N, labels, ids: (N,)."""
    places: dict[Hashable, int] = {}
    rows: list[int] = []
    place = np.full(len(labels), -1, dtype=np.int64)
    for row in np.argsort(ids).tolist():
        if (key := keys[row]) is not None:
            place[row] = places.setdefault((key, int(labels[row])), len(rows))
            if place[row] == len(rows):
                rows.append(row)
    where = np.array(rows, dtype=np.int64)
    return Things(where, labels[where], place)


def pictures_of(table: Table) -> list[Hashable]:
    """A key for each row's picture: its path and box."""
    boxes = [None] * len(table) if table.boxes is None else map(tuple, table.boxes.tolist())
    return list(zip(table.paths, boxes, strict=True))


def targets_of(table: Table) -> list[str]:
    """The picture that each row asks for, "" for none."""
    found = table.targets
    return [""] * len(table) if found is None else found


def labels_or(table: Table, keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """(N,) the labels; rows without one have a label of their own for each key."""
    codes: dict[Hashable, int] = {}
    own = [table.num_classes + codes.setdefault(key, len(codes)) for key in keys]
    return np.where(table.labels >= 0, table.labels, np.array(own, dtype=np.int64))


def ids_of(table: Table, rows: NDArray[np.int64]) -> Tensor:
    """Ids of some rows of the table."""
    return torch.from_numpy(table.ids[rows])

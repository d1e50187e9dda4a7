"""Indexes that delete or update wrongly in one way each."""

from __future__ import annotations

import torch
from index_search_faults import Sound
from torch import Tensor


class DeletesNothing(Sound):
    """A delete is only checked."""

    def delete(self, ids: Tensor) -> None:
        stored = self.vectors()
        super().delete(ids)
        self._rows = filled_with(*stored)._rows


class DeletesWhatItKnows(Sound):
    """Strangers and repetitions in a delete are passed over."""

    def delete(self, ids: Tensor) -> None:
        super().delete(ids[torch.isin(ids, self.vectors()[1])].unique().long())


class DeletesUntilItRefuses(Sound):
    """Ids before the bad one are deleted."""

    def delete(self, ids: Tensor) -> None:
        for one in ids.split(1) if ids.ndim == 1 else [ids]:
            super().delete(one)


class NeverEmpty(Sound):
    """The last row cannot be deleted."""

    def delete(self, ids: Tensor) -> None:
        super().delete(ids[: max(0, len(self) - 1)] if len(ids) == len(self) else ids)


class RemembersTheDeleted(Sound):
    """A deleted id is taken for ever."""

    gone: tuple[int, ...] = ()

    def delete(self, ids: Tensor) -> None:
        super().delete(ids)
        self.gone += tuple(ids.tolist())

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        if set(ids.tolist()) & set(self.gone):
            raise ValueError("deleted before")
        super().add(vectors, ids)


class UpdatesInTheWrongOrder(Sound):
    """New vectors go to the rows in the order in which these stand."""

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        super().update(vectors, ids)
        super().update(vectors.flip(0), ids)


class UpdateAdds(Sound):
    """An unknown id in an update becomes a new row."""

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        if len(vectors) == len(ids):
            new = ~torch.isin(ids, self.vectors()[1])
            self.add(vectors[new], ids[new])
        super().update(vectors, ids)


class UpdatesUntilItRefuses(Sound):
    """Rows before the bad one have new vectors."""

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        for row in range(len(ids)):
            super().update(vectors[row : row + 1], ids[row : row + 1])


class UpdatesTwice(Sound):
    """Of an id given twice the last vector is kept."""

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        if len(vectors) == len(ids) == 3:
            last = torch.tensor([i for i in range(3) if int(ids[i]) not in ids[i + 1 :].tolist()])
            vectors, ids = vectors[last], ids[last]
        super().update(vectors, ids)


def filled_with(vectors: Tensor, ids: Tensor) -> Sound:
    """A sound index of these rows."""
    index = Sound()
    index.add(vectors, ids)
    return index

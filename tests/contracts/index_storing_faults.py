"""Indexes that add, keep or save wrongly in one way each."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from index_search_faults import Sound
from torch import Tensor

from fashreg.indexes.exact import ExactIndex
from fashreg.strict_json import write_json
from fashreg.strict_tensors import read_tensors, write_tensors


class TakesNaN(Sound):
    """What is no number becomes zero."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        super().add(vectors.nan_to_num(0.0, 0.0, 0.0), ids)


class SkipsDuplicates(Sound):
    """Ids that are stored already are left out without a word."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        new = ~torch.isin(ids, self.vectors()[1]) if ids.ndim == 1 and len(ids) == len(vectors) else slice(None)
        super().add(vectors[new], ids[new])


class AddsUntilItRefuses(Sound):
    """Rows before the bad one stay."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        if vectors.shape[1:] != (8,) or len(ids) != len(vectors):
            super().add(vectors, ids)
        for row in range(len(vectors)):
            super().add(vectors[row : row + 1], ids[row : row + 1])


class KeepsTheLastAddOnly(Sound):
    """Adding replaces."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        super().add(vectors, ids)
        fresh = type(self)()
        ExactIndex.add(fresh, vectors, ids)
        self._rows = fresh._rows if len(fresh) else self._rows


class KeepsTheCallersTensor(Sound):
    """What was added is kept by reference."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        super().add(vectors, ids)
        if vectors.dtype == torch.float32 and len(vectors) == len(self):
            self._rows._vectors, self._rows._ids = [vectors.detach()], [ids]


class StoresHalves(Sound):
    """Vectors are stored in half precision."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        super().add(vectors.half().float() if vectors.isfinite().all() else vectors, ids)


class LosesIdsOnSave(Sound):
    """A loaded index counts its rows from 0."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        loaded, again = super().load(folder), cls()
        again.add(loaded.vectors()[0], torch.arange(len(loaded)))
        return again


class LosesARowOnSave(Sound):
    """A loaded index lacks its last row."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        loaded, again = super().load(folder), cls()
        again.add(*(part[:-1] for part in loaded.vectors()))
        return again


class SavesWithoutManifest(Sound):
    """Nothing is checked when the folder is read."""

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        write_json(folder / "index.json", {})
        write_tensors(folder / "rows", dict(zip(("vectors", "ids"), self.vectors(), strict=True)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        index, tensors = cls(), read_tensors(folder / "rows")
        index.add(tensors["vectors"], tensors["ids"])
        return index


class SavesOnce(Sound):
    """A second save into the same folder fails."""

    def save(self, folder: Path) -> None:
        if folder.exists():
            raise FileExistsError(folder)
        super().save(folder)


class OnlyFloat32(Sound):
    """Other float types are refused."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        if vectors.dtype != torch.float32:
            raise ValueError("float32 only")
        super().add(vectors, ids)


class MiscountsItself(Sound):
    """len() is one more than what is stored."""

    def __len__(self) -> int:
        return super().__len__() + 1


class GivesBackOtherVectors(Sound):
    """vectors() gives the ids sorted and the vectors not."""

    def vectors(self) -> tuple[Tensor, Tensor]:
        vectors, ids = super().vectors()
        return vectors, ids.sort().values

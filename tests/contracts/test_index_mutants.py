"""Seeded faults: indexes that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor

from fashreg.functional.pair_scores import padded
from fashreg.indexes.exact import ExactIndex
from fashreg.indexes.faiss import FaissIndex
from fashreg.strict_json import write_json
from fashreg.strict_tensors import read_tensors, write_tensors
from fashreg.testing.index import IndexContract
from fashreg.values import Rankings


class Sound(ExactIndex):
    """The index that every fault below is seeded into."""

    def __init__(self, *, embed_dim: int = 8) -> None:
        super().__init__(embed_dim=embed_dim)

    def search(
        self, vectors: Tensor, k: int, *, query_ids: Tensor | None = None, allowed: Tensor | None = None
    ) -> Rankings:
        found = super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        return self.changed(found, k, query_ids, allowed)

    def changed(self, found: Rankings, k: int, query_ids: Tensor | None, allowed: Tensor | None) -> Rankings:
        return found


def without(found: Rankings, bad: Tensor, k: int) -> Rankings:
    """Rankings with some places struck out and the rest moved up."""
    order = bad.int().argsort(1, stable=True)
    kept = ~bad.gather(1, order)
    ids, scores = found.ids.gather(1, order), found.scores.gather(1, order)
    return padded(Rankings(ids.where(kept, -1), scores.where(kept, -torch.inf)), k)


class OneTooFew(Sound):
    """The last of the k is an empty place."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return padded(Rankings(found.ids[:, : k - 1], found.scores[:, : k - 1]), k)


class FindsItself(Sound):
    """Ids of queries are ignored."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        return super().search(vectors, k, allowed=allowed)


class LeavesItselfOutTooLate(Sound):
    """The query is struck out of the k, so k - 1 are left."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        found = super().search(vectors, k, allowed=allowed)
        return found if query_ids is None else without(found, found.ids == query_ids[:, None], k)


class LeavesOutTheFirst(Sound):
    """The best hit is taken for the query, whoever it is."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        found = super().search(vectors, k + (query_ids is not None), allowed=allowed)
        return found if query_ids is None else Rankings(found.ids[:, 1:], found.scores[:, 1:])


class FiltersTooLate(Sound):
    """What is not allowed is struck out of the unfiltered k."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        found = super().search(vectors, k, query_ids=query_ids)
        return found if allowed is None else without(found, ~torch.isin(found.ids, allowed), k)


class IgnoresTheFilter(Sound):
    """Everything is allowed."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        super().search(vectors, k, query_ids=query_ids, allowed=allowed)
        return super().search(vectors, k, query_ids=query_ids)


class FiltersForAnything(Sound):
    """Strangers in a filter are dropped without a word."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        known = allowed if allowed is None else allowed[torch.isin(allowed, self.vectors()[1])]
        return super().search(vectors, k, query_ids=query_ids, allowed=known)


class WorstFirst(Sound):
    """The k best in the wrong order."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids.flip(1), found.scores.flip(1))


class DistancesForScores(Sound):
    """Smaller is nearer."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids, 2 - 2 * found.scores)


class FarthestFirst(Sound):
    """The least similar come first."""

    def search(self, vectors: Tensor, k: int, *, query_ids: Any = None, allowed: Any = None) -> Rankings:
        found = super().search(-vectors, k, query_ids=query_ids, allowed=allowed)
        return Rankings(found.ids, -found.scores)


class PadsWithZero(Sound):
    """An empty place holds id 0."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids.clamp(min=0), found.scores)


class PadsWithScoreZero(Sound):
    """An empty place has score 0."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids, found.scores.nan_to_num(neginf=0.0))


class NoPadding(Sound):
    """Only as many columns as there are rows."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids[:, : len(self)], found.scores[:, : len(self)])


class IdsAsFloats(Sound):
    """Ids pass through float64."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        return Rankings(found.ids.double().long(), found.scores)


class TiesByPosition(Sound):
    """Equal scores stay in the order of adding."""

    def changed(self, found: Rankings, k: int, query_ids: Any, allowed: Any) -> Rankings:
        if not (found.scores.diff() == 0).any():
            return found
        ids = self.vectors()[1]
        kept = ids[~torch.isin(ids, query_ids)] if query_ids is not None else ids
        return Rankings(kept[:k].expand_as(found.ids[:, : len(kept)]), found.scores)


class NothingFromNothing(Sound):
    """An empty index answers with padding."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        if not len(self):
            return Rankings(torch.full((len(vectors), k), -1), torch.full((len(vectors), k), -torch.inf))
        return super().search(vectors, k, **options)


class NoneForNone(Sound):
    """k = 0 gives nothing instead of an error."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        found = super().search(vectors, max(k, 1), **options)
        return Rankings(found.ids[:, : max(k, 0)], found.scores[:, : max(k, 0)])


class TakesNaN(Sound):
    """What is no number becomes zero."""

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        super().add(vectors.nan_to_num(0.0, 0.0, 0.0), ids)


class AsksWithNaN(Sound):
    """What is no number in a query becomes zero."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        return super().search(vectors.nan_to_num(0.0, 0.0, 0.0), k, **options)


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


class NeedsAQuery(Sound):
    """No queries are an error."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        vectors[0]
        return super().search(vectors, k, **options)


class MiscountsItself(Sound):
    """len() is one more than what is stored."""

    def __len__(self) -> int:
        return super().__len__() + 1


class GivesBackOtherVectors(Sound):
    """vectors() gives the ids sorted and the vectors not."""

    def vectors(self) -> tuple[Tensor, Tensor]:
        vectors, ids = super().vectors()
        return vectors, ids.sort().values


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


FAULTS = list(Sound.__subclasses__())


@functools.cache
def noticed(fault: Any) -> set[str]:
    """The contract tests that fail for this index."""
    return failing_tests(IndexContract, "index", fault)


@pytest.mark.parametrize("sound", [Sound, lambda: FaissIndex(embed_dim=8)])
def test_a_sound_index_passes(sound: Any) -> None:
    assert not noticed(sound)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices(fault: Any) -> None:
    assert noticed(fault), fault.__doc__


def test_every_contract_test_notices_some_fault() -> None:
    seen = set().union(*map(noticed, FAULTS))
    assert seen == {name for name in dir(IndexContract) if name.startswith("test_")}

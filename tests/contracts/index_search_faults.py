"""A sound index, and indexes that search wrongly in one way each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fashreg.functional.pair_scores import padded
from fashreg.indexes.exact import ExactIndex
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


class AsksWithNaN(Sound):
    """What is no number in a query becomes zero."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        return super().search(vectors.nan_to_num(0.0, 0.0, 0.0), k, **options)


class NeedsAQuery(Sound):
    """No queries are an error."""

    def search(self, vectors: Tensor, k: int, **options: Any) -> Rankings:
        vectors[0]
        return super().search(vectors, k, **options)

"""Seeded faults: rerankers that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor

from fashreg.rerankers.k_reciprocal import KReciprocalReranker
from fashreg.rerankers.query_expansion import QueryExpansionReranker
from fashreg.testing.reranker import RerankerContract
from fashreg.values import Rankings


class Sound(QueryExpansionReranker):
    """The reranker that every fault below is seeded into."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        return self.changed(super().__call__(queries, rankings, index, **limits), rankings)

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return found


class WantsNothing(Sound):
    """depth is 0."""

    depth = 0  # type: ignore[assignment]


class WantsAFraction(Sound):
    """depth is no whole number."""

    depth = 3.0  # type: ignore[assignment]


class CutsTheTail(Sound):
    """The answer is one narrower."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids[:, :-1], found.scores[:, :-1])


class ScoresInDouble(Sound):
    """Scores are fp64."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids, found.scores.double())


class NeedsAQuery(Sound):
    """No queries are an error."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        queries[0]
        return super().__call__(queries, rankings, index, **limits)


class NamesOneTwice(Sound):
    """The best item is named again in the second place."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        ids = found.ids.clone()
        ids[:, 1:2] = ids[:, :1]
        return Rankings(ids, found.scores)


class GivesDistances(Sound):
    """Smaller is nearer."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids, torch.where(found.ids < 0, -torch.inf, 1 - found.scores))


class WorstFirst(Sound):
    """Rows are turned round."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids.flip(1), found.scores.flip(1))


class PadsWithZero(Sound):
    """Empty places score 0."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids, found.scores.where(found.ids >= 0, 0.0))


class GivesRowNumbers(Sound):
    """Items are named by rank and not by id."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        numbers = torch.arange(found.ids.shape[1]).expand_as(found.ids)
        return Rankings(torch.where(found.ids < 0, -1, numbers), found.scores)


class LosesLargeIds(Sound):
    """Ids go through floats."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        return Rankings(found.ids.double().long(), found.scores)


class FindsItself(Sound):
    """The second search forgets who asks."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        super().__call__(queries, rankings, index, **limits)
        return super().__call__(queries, rankings, index, allowed=limits.get("allowed"))


class StrikesItselfOutTooLate(Sound):
    """The query is struck out of the answer, which is one short."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        super().__call__(queries, rankings, index, **limits)
        found, own = super().__call__(queries, rankings, index, allowed=limits.get("allowed")), limits.get("query_ids")
        if own is None:
            return found
        struck = (found.ids == own[:, None]) & (own[:, None] >= 0)
        order = struck.int().sort(dim=1, stable=True).indices
        ids, scores = found.ids.masked_fill(struck, -1), found.scores.masked_fill(struck, -torch.inf)
        return Rankings(ids.gather(1, order), scores.gather(1, order))


class ForgetsTheFilter(Sound):
    """The second search is allowed everything."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        super().__call__(queries, rankings, index, **limits)
        return super().__call__(queries, rankings, index, query_ids=limits.get("query_ids"))


class SearchesOnItsOwn(Sound):
    """The stored vectors are searched without the index, so what only the index leaves out comes back."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        from fashreg.indexes.exact import ExactIndex

        copy = ExactIndex(embed_dim=index.embed_dim)
        copy.add(*index.vectors())
        return super().__call__(queries, rankings, copy, **limits)


class CentresTheBatch(Sound):
    """The mean of the queries is taken off first."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        centred = queries - queries.mean(0) if len(queries) > 5 else queries
        return super().__call__(centred, rankings, index, **limits)


class LooksAtTheQueryBefore(Sound):
    """Every query is helped by the one before it."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        helped = queries.clone()
        helped[1:] += queries[:-1]
        return super().__call__(helped, rankings, index, **limits)


class BreaksTiesByPlace(Sound):
    """Equal items come in the order in which they were added."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        found = super().__call__(queries, rankings, index, **limits)
        stored = index.vectors()[1]
        place = torch.where(found.ids < 0, len(stored), torch.searchsorted(stored.sort().values, found.ids))
        place = torch.where(found.ids < 0, len(stored), stored.argsort()[place.clamp(max=len(stored) - 1)])
        order = place.argsort(1)
        ids, scores = found.ids.gather(1, order), found.scores.gather(1, order)
        order = (-scores).sort(dim=1, stable=True).indices
        return Rankings(ids.gather(1, order), scores.gather(1, order))


class AsksForTheOpposite(Sound):
    """The query moves away from what it found."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        return super().__call__(-queries, rankings, index, **limits)


class RemembersTheLastQueries(Sound):
    """A call changes the next one."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        self.calls = getattr(self, "calls", 0) + 1
        found = super().__call__(queries, rankings, index, **limits)
        return Rankings(found.ids, found.scores - 0.1 * self.calls)


class WritesIntoTheRanking(Sound):
    """The first ranking is overwritten."""

    def changed(self, found: Rankings, first: Rankings) -> Rankings:
        first.ids[:] = found.ids
        first.scores[:] = found.scores
        return found


class NormalisesInPlace(Sound):
    """The caller's queries are changed."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        found = super().__call__(queries, rankings, index, **limits)
        queries.detach().mul_(0.5)
        return found


class KeepsTheGraph(Sound):
    """Scores depend on the queries for autograd."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        found = super().__call__(queries, rankings, index, **limits)
        return Rankings(found.ids, found.scores + 0 * queries.sum(1, keepdim=True).float())


class OnlyFloat32(Sound):
    """Other float types are refused."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        if queries.dtype != torch.float32:
            raise ValueError("float32 only")
        return super().__call__(queries, rankings, index, **limits)


class MendsTheQueries(Sound):
    """What is no number becomes zero."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        return super().__call__(queries.nan_to_num(0.0), rankings, index, **limits)


class LeavesStrangersOut(Sound):
    """Ids that the index does not hold are passed over."""

    def __call__(self, queries: Tensor, rankings: Rankings, index: Any, **limits: Any) -> Rankings:
        ids = rankings.ids.where(torch.isin(rankings.ids, index.vectors()[1]), -1)
        return super().__call__(queries, Rankings(ids, rankings.scores), index, **limits)


FAULTS = list(Sound.__subclasses__())


@pytest.mark.parametrize("sound", [Sound, KReciprocalReranker, lambda: KReciprocalReranker(k1=3, k2=1, depth=4)])
def test_a_sound_reranker_passes(sound: Any) -> None:
    assert not failing_tests(RerankerContract, "reranker", sound)


@functools.cache
def noticed_by(fault: Any) -> frozenset[str]:
    return frozenset(failing_tests(RerankerContract, "reranker", fault))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices(fault: Any) -> None:
    assert noticed_by(fault), fault.__doc__


def test_every_contract_test_notices_some_fault() -> None:
    seen = frozenset().union(*map(noticed_by, FAULTS))
    assert seen == {name for name in dir(RerankerContract) if name.startswith("test_")}

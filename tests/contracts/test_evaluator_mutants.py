"""Seeded faults: evaluators that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor

from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.functional import metrics as m
from fashreg.functional.judged import Judged, judged_from_hits
from fashreg.functional.metrics import judge
from fashreg.functional.relevance import counts, hits
from fashreg.testing.evaluator import EvaluatorContract
from fashreg.values import Rankings, Relevance


class Sound:
    """The evaluator that every fault below is seeded into."""

    primary = "map@r"

    def depth(self, relevance: Relevance) -> int:
        return max(10, int(counts(relevance).max()))

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        return judge(rankings, relevance)

    def values(self, judged: Judged) -> dict[str, Tensor]:
        return {
            "recall@1": m.recall_at_k(judged, 1),
            "recall@10": m.recall_at_k(judged, 10),
            "map@r": m.map_at_r(judged),
        }

    def mean(self, values: Tensor) -> float:
        return m.average(values)

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        return self.values(judged)

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        values = self.values(self.judged(rankings, relevance))
        return {name: self.mean(value) for name, value in values.items()}


class OneRankLess(Sound):
    """recall@10 looks at nine."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        return {**super().values(judged), "recall@10": m.recall_at_k(judged, 9)}


class OneRankMore(Sound):
    """recall@1 looks at two."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        return {**super().values(judged), "recall@1": m.recall_at_k(judged, 2)}


class CountsItself(Sound):
    """R includes the query, so the best ranking does not score one."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        found = super().judged(rankings, relevance)
        return replace(found, counts=torch.where(found.counts > 0, found.counts + 1, 0))


class HitsItself(Sound):
    """The query counts as a hit when it is ranked."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        found = hits(relevance, rankings.ids) | (rankings.ids == relevance.query_ids[:, None])
        return judged_from_hits(found, counts(relevance))


class HitsEmptyPlaces(Sound):
    """An empty place equals a query without identity."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        empty = (rankings.ids < 0) & (relevance.query_ids[:, None] < 0)
        return judged_from_hits(hits(relevance, rankings.ids) | empty, counts(relevance))


class WorstFirst(Sound):
    """Rankings are read from the far end."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        return super().judged(Rankings(rankings.ids.flip(1), rankings.scores), relevance)


class SmallerIsNearer(Sound):
    """Ranks are sorted again by ascending score."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        order = rankings.scores.argsort(1)
        return super().judged(Rankings(rankings.ids.gather(1, order), rankings.scores), relevance)


class DividesByHits(Sound):
    """AP divides by what was found and not by R."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        found = m.r_precision(judged) * judged.counts
        return {**super().values(judged), "map@r": m.map_at_r(judged) * judged.counts / found.clamp(min=1)}


class ShareFound(Sound):
    """recall@k is the share of relevant items found, which is another metric of the same name."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        return {**super().values(judged), "recall@10": m.share_found_at_k(judged, 10)}


class ZeroForNone(Sound):
    """Queries without relevant items pull the mean down."""

    def mean(self, values: Tensor) -> float:
        return float(values.nan_to_num(0.0).mean())


class NotANumber(Sound):
    """Nothing to measure gives NaN."""

    def mean(self, values: Tensor) -> float:
        return float(values.nanmean())


class Percent(Sound):
    """Numbers up to 100."""

    def mean(self, values: Tensor) -> float:
        return 100 * super().mean(values)


class TensorsForNumbers(Sound):
    """Values are tensors."""

    def mean(self, values: Tensor) -> Any:
        return values.nanmean()


class Remembers(Sound):
    """A running mean over all calls."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def mean(self, values: Tensor) -> float:
        self.seen.append(super().mean(values))
        return sum(self.seen[-3:]) / len(self.seen[-3:])


class TooShallow(Sound):
    """Asks for ten ranks although some query has more relevant items, and cuts R short."""

    def depth(self, relevance: Relevance) -> int:
        return 10

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        found = super().judged(rankings, relevance)
        return replace(found, counts=found.counts.clamp(max=found.depth))


class LabelsAsFloats(Sound):
    """Ids pass through float64."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        rounded = replace(relevance, ids=relevance.ids.double().long(), query_ids=relevance.query_ids.double().long())
        return super().judged(rankings, rounded)


class SpoilsItsInput(Sound):
    """Writes into the rankings."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        found = super().judged(rankings, relevance)
        rankings.ids.masked_fill_(~hits(relevance, rankings.ids), -1)
        return found


class PrimaryOfAnotherName(Sound):
    """The primary is not reported."""

    primary = "map"


class WeightsByPosition(Sound):
    """Later queries weigh more."""

    def mean(self, values: Tensor) -> float:
        known = values[~values.isnan()]
        if not len(known):
            raise ValueError("no query has a relevant item")
        weights = torch.arange(1, len(known) + 1).double()
        return float((known * weights).sum() / weights.sum())


class NeedsALargeGallery(Sound):
    """Refuses a gallery smaller than its cut-off."""

    def __call__(self, rankings: Rankings, relevance: Relevance) -> dict[str, float]:
        if (rankings.ids[:, :3] < 0).any():
            raise ValueError("too few items")
        return super().__call__(rankings, relevance)


class HitsItsSource(Sound):
    """What the query's own source excludes counts when it is ranked."""

    def judged(self, rankings: Rankings, relevance: Relevance) -> Judged:
        return super().judged(rankings, replace(relevance, query_sources=None, sources=None))


class OtherFromHitRanks(Sound):
    """From hit ranks recall@10 looks at nine."""

    def from_judged(self, judged: Judged, relevance: Relevance) -> dict[str, Tensor]:
        return {**self.values(judged), "recall@10": m.recall_at_k(judged, 9)}


class DividesByTheDeepest(Sound):
    """AP divides by the largest R of the queries beside it."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        share = judged.counts / judged.counts.max()
        return {**super().values(judged), "map@r": m.map_at_r(judged) * share}


class AddsGrades(Sound):
    """Grades are summed where hits are counted."""

    def values(self, judged: Judged) -> dict[str, Tensor]:
        gains = torch.ones(len(judged.ranks)) if judged.gains is None else judged.gains
        found = judged.sums(torch.where(judged.ranks <= 1, gains, 0))
        return {**super().values(judged), "recall@1": torch.where(judged.counts > 0, found, torch.nan)}


FAULTS = list(Sound.__subclasses__())


@pytest.mark.parametrize("sound", [Sound, RetrievalEvaluator])
def test_a_sound_evaluator_passes(sound: Any) -> None:
    assert not failing_tests(EvaluatorContract, "evaluator", sound)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_suite_notices(fault: Any) -> None:
    assert failing_tests(EvaluatorContract, "evaluator", fault), fault.__doc__


def test_every_contract_test_notices_some_fault() -> None:
    seen = set().union(*(failing_tests(EvaluatorContract, "evaluator", fault) for fault in FAULTS))
    assert seen == {name for name in dir(EvaluatorContract) if name.startswith("test_")}

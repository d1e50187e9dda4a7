"""The contract of an evaluator: what every one promises, whichever numbers it reports."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from fashreg.functional.neighbours import WHOLE_RANKING
from fashreg.functional.relevance import relevance_from_labels
from fashreg.values import Rankings, Relevance

HUGE = 2**61


@dataclass(frozen=True)
class Case:
    """Queries against a gallery, ranked. queries, gallery: (id, label). order: ranked ids of each query, best first."""

    queries: list[tuple[int, int]]
    gallery: list[tuple[int, int]]
    order: list[list[int]]

    @property
    def relevance(self) -> Relevance:
        """Equal label, another id."""
        queries, gallery = torch.tensor(self.queries), torch.tensor(self.gallery)
        return relevance_from_labels(queries[:, 1], queries[:, 0], gallery[:, 1], gallery[:, 0])

    def rankings(self, depth: int) -> Rankings:
        """The first `depth` ranks, padded where there are fewer; WHOLE_RANKING gives one for each gallery item."""
        depth = len(self.gallery) if depth == WHOLE_RANKING else depth
        rows = [[*row[:depth], *[-1] * (depth - len(row))] for row in self.order]
        ids = torch.tensor(rows, dtype=torch.int64).view(len(rows), depth)
        return Rankings(ids, torch.where(ids < 0, -torch.inf, 1 - torch.arange(depth) / depth))

    def found(self) -> list[tuple[list[int], int]]:
        """For each query: 1 or 0 for each ranked item, relevant or not, and the number R of relevant items."""
        label_of = dict(self.gallery)
        judged = []
        for (own, label), row in zip(self.queries, self.order, strict=True):
            hits = [int(i >= 0 and i != own and label_of.get(i) == label) for i in row]
            judged.append((hits, sum(i != own and found == label for i, found in self.gallery)))
        return judged

    def sorted_by(self, badness: Callable[[bool], int]) -> Case:
        """The same with each ranking stably sorted by whether an item is relevant."""
        pairs = zip(self.order, self.found(), strict=True)
        order = [[i for _, i in sorted(zip(map(badness, map(bool, f)), row, strict=True))] for row, (f, _) in pairs]
        return replace(self, order=order)


def leave_one_out(seed: int, n: int = 26, classes: int = 4, scale: int = 1) -> Case:
    """n items of some classes plus one alone in its class, each ranked by the others in a random order."""
    made = random.Random(seed)
    ids = made.sample(range(3 * n), n)
    gallery = [(i * scale, (made.randrange(classes) - 1) * scale) for i in ids[1:]] + [(ids[0] * scale, 77 * scale)]
    order = []
    for own, _ in gallery:
        others = [i for i, _ in gallery if i != own]
        order.append(made.sample(others, len(others)))
    return Case(gallery, gallery, order)


def measured(evaluator: Any, case: Case) -> dict[str, float]:
    """What the evaluator says of the case, given the ranks it asks for."""
    numbers: dict[str, float] = evaluator(case.rankings(evaluator.depth(case.relevance)), case.relevance)
    return numbers


def plain_value(name: str, found: list[int], r: int) -> float | None:
    """The metric of that name for one query, from its definition; None for a name that has none here."""
    kind, _, cut = name.partition("@")
    k = int(cut) if cut.isdigit() else 0
    top = found[: k or None]
    precise = [sum(found[: i + 1]) / (i + 1) if hit else 0.0 for i, hit in enumerate(found)]
    if kind == "ndcg" and k:
        best = sum(1 / math.log2(i + 2) for i in range(min(k, r)))
        return sum(hit / math.log2(i + 2) for i, hit in enumerate(top)) / best
    known = {
        "map": sum(precise) / r,
        "map@r": sum(precise[:r]) / r,
        "r-precision": sum(found[:r]) / r,
        f"recall@{k}": float(any(top)),
        f"precision@{k}": sum(top) / k if k else 0.0,
        "mrr" if not k else f"mrr@{k}": max((1 / (i + 1) for i, hit in enumerate(top) if hit), default=0.0),
    }
    return known.get(name)


def same_numbers(one: dict[str, float], other: dict[str, float]) -> bool:
    """Equal names and, to rounding, equal values."""
    return one.keys() == other.keys() and all(math.isclose(one[n], other[n], abs_tol=1e-12) for n in one)


class EvaluatorContract:
    """Override `evaluator` with one in its default configuration."""

    @pytest.fixture
    def evaluator(self) -> Any:
        """An evaluator."""
        raise NotImplementedError("override the fixture `evaluator`")

    def test_it_reports_its_primary_and_only_finite_fractions(self, evaluator: Any) -> None:
        numbers = measured(evaluator, leave_one_out(0))
        assert evaluator.primary in numbers
        assert all(type(name) is str and type(value) is float and 0 <= value <= 1 for name, value in numbers.items())

    @pytest.mark.parametrize("seed", range(6))
    def test_a_known_name_means_what_it_says(self, evaluator: Any, seed: int) -> None:
        case = leave_one_out(seed, n=14 + 5 * seed, classes=2 + seed)
        judged = [(found, r) for found, r in case.found() if r]
        for name, value in measured(evaluator, case).items():
            plain = [plain_value(name, found, r) for found, r in judged]
            if None not in plain:
                wanted = sum(p for p in plain if p is not None) / len(plain)
                assert math.isclose(value, wanted, abs_tol=1e-9), f"{name} is {value}, by its definition {wanted}"

    def test_the_best_ranking_scores_one_and_the_worst_least(self, evaluator: Any) -> None:
        case = leave_one_out(1)
        best, worst = case.sorted_by(lambda hit: -hit), case.sorted_by(lambda hit: int(hit))
        numbers = [measured(evaluator, c)[evaluator.primary] for c in (best, case, worst)]
        assert math.isclose(numbers[0], 1.0)
        assert numbers[0] > numbers[1] > numbers[2]

    def test_moving_a_relevant_item_up_never_lowers_the_primary(self, evaluator: Any) -> None:
        case = leave_one_out(2)
        last = measured(evaluator, case)[evaluator.primary]
        for place in range(len(case.gallery) - 3, -1, -1):
            order = [list(row) for row in case.order]
            for row, (found, _) in zip(order, case.found(), strict=True):
                if found[place + 1] > found[place]:
                    row[place : place + 2] = row[place + 1], row[place]
            case = replace(case, order=order)
            value = measured(evaluator, case)[evaluator.primary]
            assert value >= last - 1e-12
            last = value

    def test_the_query_itself_is_never_a_hit(self, evaluator: Any) -> None:
        case = leave_one_out(3)
        with_itself = replace(case, order=[[q, *row] for (q, _), row in zip(case.queries, case.order, strict=True)])
        with_stranger = replace(case, order=[[10**9, *row] for row in case.order])
        assert same_numbers(measured(evaluator, with_itself), measured(evaluator, with_stranger))

    def test_empty_places_are_never_hits(self, evaluator: Any) -> None:
        case = leave_one_out(4)
        pairs = zip(case.order, case.found(), strict=True)
        misses = [[i for i, hit in zip(row, found, strict=True) if not hit][:1] for row, (found, _) in pairs]
        case = Case([(-1, label) for _, label in case.queries], case.gallery, misses)  # -1 is what pads hold, too
        assert measured(evaluator, case)[evaluator.primary] == 0

    def test_queries_without_relevant_items_do_not_count(self, evaluator: Any) -> None:
        case = leave_one_out(5)
        more = Case([*case.queries, (10**9, 1234)], case.gallery, [*case.order, [i for i, _ in case.gallery]])
        assert same_numbers(measured(evaluator, case), measured(evaluator, more))

    def test_nothing_to_measure_is_an_error_and_not_a_number(self, evaluator: Any) -> None:
        case = Case([(1, 1), (2, 2)], [(1, 1), (2, 2)], [[2], [1]])
        with pytest.raises(ValueError, match="relevant"):
            measured(evaluator, case)

    def test_it_is_pure(self, evaluator: Any) -> None:
        case, other = leave_one_out(6), leave_one_out(7)
        rankings, relevance = case.rankings(evaluator.depth(case.relevance)), case.relevance
        kept = [x.clone() for x in (rankings.ids, rankings.scores, relevance.ids, relevance.query_ids)]
        first = evaluator(rankings, relevance)
        measured(evaluator, other)
        assert evaluator(rankings, relevance) == first
        now = (rankings.ids, rankings.scores, relevance.ids, relevance.query_ids)
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))

    def test_neither_the_order_of_queries_nor_the_scale_of_scores_matters(self, evaluator: Any) -> None:
        case = leave_one_out(8)
        turned = Case(case.queries[::-1], case.gallery[::-1], case.order[::-1])
        assert same_numbers(measured(evaluator, case), measured(evaluator, turned))
        rankings = case.rankings(evaluator.depth(case.relevance))
        scaled = Rankings(rankings.ids, rankings.scores * 1e-3 - 5)
        assert same_numbers(measured(evaluator, case), evaluator(scaled, case.relevance))

    def test_the_depth_it_asks_for_is_enough(self, evaluator: Any) -> None:
        case = leave_one_out(9, n=60, classes=5)
        depth = evaluator.depth(case.relevance)
        assert type(depth) is int
        assert depth >= 1
        whole = evaluator(case.rankings(len(case.gallery)), case.relevance)
        assert same_numbers(measured(evaluator, case), whole)

    def test_ids_and_labels_may_be_of_any_size(self, evaluator: Any) -> None:
        small, large = leave_one_out(10), leave_one_out(10, scale=HUGE // 100)
        assert same_numbers(measured(evaluator, small), measured(evaluator, large))

    def test_a_gallery_smaller_than_every_cut_off_is_measured(self, evaluator: Any) -> None:
        case = Case([(1, 0), (2, 0), (3, 1)], [(1, 0), (2, 0), (3, 1)], [[3, 2], [1, 3], [1, 2]])
        assert 0 < measured(evaluator, case)[evaluator.primary] < 1

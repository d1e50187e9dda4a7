"""The contract of an evaluator: what every one promises, whichever numbers it reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from fashreg.functional.judged import Judged
from fashreg.functional.metrics import average, judge
from fashreg.testing.evaluator_cases import Case, leave_one_out, measured, plain_value, same_numbers
from fashreg.values import Rankings

HUGE = 2**61


def from_hit_ranks(evaluator: Any, judged: Judged, case: Case) -> dict[str, float]:
    """The means of what the evaluator makes of hit ranks, or what it measures where it does not offer that."""
    if not hasattr(evaluator, "from_judged"):
        return measured(evaluator, case)
    return {name: average(values) for name, values in evaluator.from_judged(judged, case.relevance).items()}


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
        case = leave_one_out(1, n=150, classes=15)  # large enough for cut-offs at 50
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
        with_itself = replace(case, order=[[q, *row] for (q, _), row in case.pairs()])
        with_stranger = replace(case, order=[[10**9, *row] for row in case.order])
        assert same_numbers(measured(evaluator, with_itself), measured(evaluator, with_stranger))

    def test_items_of_the_query_s_own_source_are_never_hits(self, evaluator: Any) -> None:
        case = leave_one_out(11, n=40)

        def source(i: int) -> int:
            return i % 3 - 1  # 0, 1, and -1 which is nobody's

        def seen(q: int, i: int) -> int:
            return 10**9 if source(i) == source(q) >= 0 else i

        relevance = case.relevance_by(source)
        strangers = replace(case, order=[[seen(q, i) for i in row] for (q, _), row in case.pairs()])
        depth = len(case.gallery)
        assert same_numbers(evaluator(case.rankings(depth), relevance), evaluator(strangers.rankings(depth), relevance))

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

    def test_hit_ranks_say_the_same_as_rankings(self, evaluator: Any) -> None:
        case = leave_one_out(12, n=40)
        whole = judge(case.rankings(len(case.gallery)), case.relevance)
        assert same_numbers(from_hit_ranks(evaluator, replace(whole, depth=None), case), measured(evaluator, case))

    def test_a_query_scores_the_same_whatever_is_judged_beside_it(self, evaluator: Any) -> None:
        case = leave_one_out(13, n=40)
        blocks = [Case(case.queries[s : s + 9], case.gallery, case.order[s : s + 9]) for s in range(0, 40, 9)]
        numbers, counted = [], []
        for block in blocks:
            numbers.append(measured(evaluator, block))
            counted.append(sum(r > 0 for _, r in block.found()))
        for name, value in measured(evaluator, case).items():
            parts = sum(n[name] * c for n, c in zip(numbers, counted, strict=True)) / sum(counted)
            assert math.isclose(value, parts, abs_tol=1e-9), f"{name} is {value} together and {parts} in blocks"

    def test_grades_change_ndcg_and_no_other_known_metric(self, evaluator: Any) -> None:
        case = leave_one_out(14).sorted_by(lambda hit: -hit)
        graded = replace(case.relevance, grades=1.0 + torch.arange(len(case.gallery)) % 4)
        numbers = evaluator(case.rankings(evaluator.depth(graded)), graded)
        assert all(0 <= value <= 1 for value in numbers.values())
        plain = {n: x for n, x in measured(evaluator, case).items() if plain_value(n, [1], 1) is not None}
        same = [name for name in plain if not name.startswith("ndcg@")]
        assert same_numbers({name: numbers[name] for name in same}, {name: plain[name] for name in same})

    def test_ids_and_labels_may_be_of_any_size(self, evaluator: Any) -> None:
        small, large = leave_one_out(10), leave_one_out(10, scale=HUGE // 100)
        assert same_numbers(measured(evaluator, small), measured(evaluator, large))

    def test_a_gallery_smaller_than_every_cut_off_is_measured(self, evaluator: Any) -> None:
        case = Case([(1, 0), (2, 0), (3, 1)], [(1, 0), (2, 0), (3, 1)], [[3, 2], [1, 3], [1, 2]])
        assert 0 < measured(evaluator, case)[evaluator.primary] <= 1

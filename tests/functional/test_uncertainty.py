"""Intervals that cover as often as they say, and a paired test that cries wolf no oftener."""

from __future__ import annotations

from math import comb

import pytest
import torch
from torch import Tensor

from fashreg.functional.uncertainty import bootstrap_intervals, paired_test, permutation_p_value

SETS = 400


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("metric", "truth"),
    [
        (lambda u: (u < 0.6).double(), 0.6),  # recall@k
        (lambda u: u**6, 1 / 7),  # skewed, as map@r of a weak model
        (lambda u: torch.where(u < 0.3, 0.0, u), 0.455),  # many zeros
    ],
)
@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_95_of_100_intervals_hold_the_true_mean(metric, truth: float, method: str) -> None:
    values = metric(uniform(80, SETS, seed=3))
    low, high = bootstrap_intervals(values, method=method, resamples=600).T
    covered = float(((low <= truth) & (truth <= high)).double().mean())
    assert 0.915 <= covered <= 0.98  # 0.95 give or take three standard errors of 400 sets
    wide_low, wide_high = bootstrap_intervals(values, method=method, resamples=600, confidence=0.99).T
    assert bool(((wide_low <= low) & (high <= wide_high)).all())


def test_on_skewed_values_bca_leans_to_the_long_tail() -> None:
    values = uniform(60, 50) ** 6
    middle = values.mean(0)
    low, high = bootstrap_intervals(values).T
    assert float(((high - middle) / (middle - low)).mean()) > 1.2


def test_queries_dealt_into_units_give_the_width_of_the_normal_approximation() -> None:
    values = uniform(20_000, 3)
    low, high = bootstrap_intervals(values).T
    assert torch.allclose(high - low, 2 * 1.96 * values.std(0) / 20_000**0.5, rtol=0.1)
    assert torch.allclose((low + high) / 2, values.mean(0), atol=3e-4)


@pytest.mark.parametrize(("value", "queries"), [(1.0, 20), (0.0, 20), (0.5, 1)])
def test_equal_values_hide_what_the_exact_bound_says(value: float, queries: int) -> None:
    low, high = bootstrap_intervals(torch.full((queries, 1), value))[0].tolist()
    q = 0.025 ** (1 / queries)  # n of n right have probability q^n = 0.025
    assert low == pytest.approx(q * value)
    assert high == pytest.approx(1 - q * (1 - value))


def test_queries_that_do_not_count_change_nothing() -> None:
    values = uniform(50, 2)
    padded = torch.full((80, 2), torch.nan, dtype=torch.float64)
    padded[::2][:40], padded[1:21:2] = values[:40], values[40:]
    expected = bootstrap_intervals(padded[~padded[:, 0].isnan()])
    assert torch.allclose(bootstrap_intervals(padded), expected)
    holes = torch.stack([padded[:, 0], uniform(80)], 1)
    assert torch.allclose(bootstrap_intervals(holes)[0], expected[0])
    assert bool(bootstrap_intervals(torch.full((4, 1), torch.nan)).isnan().all())


def test_groups_are_drawn_whole() -> None:
    values = uniform(60, 1)
    fourfold, groups = values.repeat_interleave(4, 0), torch.arange(60).repeat_interleave(4)
    alone, together = bootstrap_intervals(values)[0], bootstrap_intervals(fourfold, groups=groups)[0]
    assert torch.allclose(alone, together)
    careless = bootstrap_intervals(fourfold)[0]
    assert float(careless.diff() / alone.diff()) == pytest.approx(0.5, abs=0.06)


def test_equal_seeds_give_equal_numbers_and_others_nearly_so() -> None:
    values = uniform(500, 2)
    one, same, other = (bootstrap_intervals(values, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.01)


@pytest.mark.parametrize(("better", "worse"), [(8, 2), (5, 0), (3, 3), (1, 0)])
def test_on_hits_and_misses_it_is_mcnemars_exact_test(better: int, worse: int) -> None:
    first = torch.tensor([0.0] * better + [1.0] * worse + [1.0] * 10)
    second = torch.tensor([1.0] * better + [0.0] * worse + [1.0] * 10)
    n, few = better + worse, min(better, worse)
    exact = min(1.0, 2 * sum(comb(n, i) for i in range(few + 1)) / 2**n)
    found = paired_test(first, second)
    assert found.p_value == pytest.approx(exact)
    assert (found.better, found.worse, found.queries) == (better, worse, n + 10)
    assert found.difference == pytest.approx((better - worse) / (n + 10))


def test_random_signs_agree_with_all_signs() -> None:
    first, second = uniform(13, seed=1), uniform(13, seed=2) + 0.15
    exact = paired_test(first, second, resamples=2**13).p_value
    assert paired_test(first, second, resamples=2**13 - 1).p_value == pytest.approx(exact, abs=0.02)


def test_without_a_difference_one_in_twenty_tests_finds_one() -> None:
    found = [
        paired_test(uniform(12, seed=2 * i), uniform(12, seed=2 * i + 1), resamples=4096).p_value for i in range(150)
    ]
    assert 0.005 < sum(p <= 0.05 for p in found) / len(found) < 0.11


def test_a_real_difference_is_found_and_lies_in_its_interval() -> None:
    first = uniform(5000)
    second = (first + 0.02 * (uniform(5000, seed=1) - 0.3)).clamp(0, 1)
    found = paired_test(first, second)
    assert found.p_value < 0.001
    assert 0 < found.low < found.difference < found.high
    back = paired_test(second, first)
    assert back.difference == pytest.approx(-found.difference)
    assert back.p_value == found.p_value


def test_two_equal_results_do_not_differ() -> None:
    values = uniform(100)
    found = paired_test(values, values)
    assert (found.p_value, found.difference, found.better) == (1.0, 0.0, 0)
    assert found.low < 0 < found.high


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (torch.tensor([[torch.inf]]), {}, "finite or NaN"),
        (torch.zeros(3, 1), {"groups": torch.zeros(2, dtype=torch.int64)}, "3 queries need as many"),
        (torch.zeros(3, 1), {"confidence": 95}, "between 0 and 1"),
        (torch.zeros(3, 1), {"method": "normal"}, "bca"),
    ],
)
def test_nonsense_is_refused(values: Tensor, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bootstrap_intervals(values, **options)


def test_results_of_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries"):
        paired_test(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="do not count the same"):
        paired_test(torch.tensor([0.0, torch.nan]), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="no query counts"):
        paired_test(torch.tensor([torch.nan]), torch.tensor([torch.nan]))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], 2 / 20),  # of 20 ways to deal, this and its mirror
        ([0.1, 0.5], [0.2, 0.4], 1.0),
        ([0.1], [0.9], 1.0),
    ],
)
def test_few_trainings_prove_as_much_as_their_permutations_do(first, second, expected) -> None:
    assert permutation_p_value(first, second) == pytest.approx(expected)


def test_many_trainings_are_dealt_at_random() -> None:
    one, other = uniform(12).tolist(), uniform(12, seed=1).tolist()
    assert permutation_p_value(one, other) > 0.05
    assert permutation_p_value(one, [x + 2 for x in other]) <= 1 / 10_000

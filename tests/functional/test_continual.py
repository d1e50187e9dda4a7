from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashreg.functional.continual import (
    average_incremental,
    backward_transfer,
    final,
    forgetting,
    forward_transfer,
)

GOLDEN = [[0.6, math.nan, math.nan], [0.5, 0.7, math.nan], [0.55, 0.65, 0.8]]
FASHION_AI = [63.7173, 58.2922, 52.9375, 66.8214, 69.8439, 67.5551, 67.0139, 63.2626]
QUERIES = [422, 623, 535, 422, 341, 289, 703, 265]

squares = st.integers(1, 5).flatmap(
    lambda t: st.lists(st.lists(st.floats(0, 1), min_size=t, max_size=t), min_size=t, max_size=t)
)


def lower(matrix: list[list[float]], *, above: bool = False) -> np.ndarray:
    """The entries of what was learnt, and with `above` the one before it was."""
    m = np.array(matrix)
    rows, columns = np.indices(m.shape)
    m[columns > rows + int(above)] = np.nan
    return m


def test_the_golden_matrix_gives_the_numbers_of_the_definitions() -> None:
    assert forgetting(GOLDEN, "max") == pytest.approx(0.05)
    assert forgetting(GOLDEN, "last") == pytest.approx(0.05)
    assert backward_transfer(GOLDEN) == pytest.approx(-0.05)
    assert average_incremental(GOLDEN) == pytest.approx(0.6222222222)
    assert final(GOLDEN) == pytest.approx((0.55 + 0.65 + 0.8) / 3)


def test_the_weighted_mean_of_the_published_attributes_is_the_published_one() -> None:
    assert final([FASHION_AI], QUERIES, learnt=[0] * 8) == pytest.approx(63.0390, abs=5e-5)
    assert final([FASHION_AI], learnt=[0] * 8) == pytest.approx(63.68, abs=5e-3)


def test_the_best_form_of_forgetting_sees_what_came_between() -> None:
    m = [[0.6, math.nan, math.nan], [0.8, 0.7, math.nan], [0.55, 0.9, 0.8]]
    assert forgetting(m, "max") == pytest.approx(((0.8 - 0.55) + 0.0) / 2)
    assert forgetting(m, "last") == pytest.approx(((0.6 - 0.55) + (0.7 - 0.9)) / 2)


def test_what_was_measured_before_a_task_was_learnt_counts_for_forward_transfer_alone() -> None:
    m = [[0.6, 0.3, None], [0.5, 0.7, 0.4], [0.55, 0.65, 0.8]]
    assert forward_transfer(m, [0.1, 0.2, 0.25]) == pytest.approx(((0.3 - 0.2) + (0.4 - 0.25)) / 2)
    for number in (average_incremental, final, forgetting, backward_transfer):
        assert number(m) == pytest.approx(number(GOLDEN))
    better_untrained = [[0.6, 0.99], [0.6, 0.7], [0.6, 0.7]]
    assert forgetting(better_untrained, learnt=[0, 1]) == 0.0


def test_tasks_learnt_together_have_an_average_and_nothing_to_forget() -> None:
    m = [[0.5, 0.7]]
    assert final(m, learnt=[0, 0]) == average_incremental(m, learnt=[0, 0]) == pytest.approx(0.6)
    for number in (forgetting(m, learnt=[0, 0]), backward_transfer(m, learnt=[0, 0])):
        assert math.isnan(number)
    assert math.isnan(forward_transfer(m, [0.1, 0.1], learnt=[0, 0]))


def test_tasks_known_before_are_forgotten_by_what_they_lose_from_the_first_row() -> None:
    m = [[0.9, 0.2], [0.7, 0.6]]
    assert forgetting(m, learnt=[0, 1]) == pytest.approx(0.2)
    assert forward_transfer(m, [0.1, 0.15], learnt=[0, 1]) == pytest.approx(0.05)


@given(squares)
def test_backward_transfer_is_minus_the_last_form_which_is_never_above_the_best_form(
    matrix: list[list[float]],
) -> None:
    m = lower(matrix)
    if len(m) == 1:
        assert math.isnan(forgetting(m))
        return
    assert backward_transfer(m) == -forgetting(m, "last")
    assert forgetting(m, "max") >= max(0.0, forgetting(m, "last")) - 1e-12


@given(squares, st.randoms(use_true_random=False))
def test_the_order_of_the_columns_is_of_no_matter(matrix: list[list[float]], random: object) -> None:
    m = lower(matrix, above=True)
    order = list(range(len(m)))
    random.shuffle(order)  # type: ignore[attr-defined]
    chance = np.linspace(0.0, 0.4, len(m))
    turned, learnt = m[:, order], order
    for plain, other in (
        (final(m, chance), final(turned, chance[order], learnt=learnt)),
        (average_incremental(m), average_incremental(turned, learnt=learnt)),
        (forgetting(m), forgetting(turned, learnt=learnt)),
        (forward_transfer(m, chance), forward_transfer(turned, chance[order], learnt=learnt)),
    ):
        assert plain == pytest.approx(other, nan_ok=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: final([]), "the matrix is"),
        (lambda: final([[0.5]], [0.5, 0.5]), "weights are 1 numbers"),
        (lambda: final([[0.5]], [-1.0]), "weights are 1 numbers"),
        (lambda: forgetting([[0.5]], "worst"), "max"),  # type: ignore[arg-type]
        (lambda: forward_transfer([[0.5]], [0.1, 0.2]), "chance holds 1"),
        (lambda: final([[0.5]], learnt=[0, 1]), "learnt holds 1"),
        (lambda: final([[0.5]], learnt=[-1]), "learnt holds 1"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()  # type: ignore[operator]

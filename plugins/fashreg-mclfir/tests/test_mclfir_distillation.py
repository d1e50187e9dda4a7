"""Golden checks of the three measures of how far a model has moved."""

from __future__ import annotations

import math

import pytest
import torch
from fashreg_mclfir.distillation import feature_gap, moved, pooled, similarity_change


def test_features_that_are_equal_have_no_gap() -> None:
    maps = torch.randn(4, 5, 3, 3)
    assert feature_gap(maps, maps.clone()).item() == 0.0


def test_an_offset_of_c_in_every_pooled_feature_costs_c_squared_and_three_pictures_three_times_that() -> None:
    """The released code adds the mean squares of anchor, negative and positive: 3 c^2."""
    anchors, negatives, positives = (torch.randn(4, 6, 2, 2) for _ in range(3))
    gaps = [feature_gap(maps + 0.5, maps).item() for maps in (anchors, negatives, positives)]
    assert gaps == pytest.approx([0.25] * 3, abs=1e-6)
    assert sum(gaps) == pytest.approx(3 * 0.5**2, abs=1e-5)


def test_a_map_is_pooled_by_its_mean_and_rows_stay() -> None:
    maps = torch.arange(8.0).view(1, 2, 2, 2)
    assert pooled(maps).tolist() == [[1.5, 5.5]]
    assert pooled(maps.bfloat16()).dtype == torch.float32
    rows = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(pooled(rows), rows)


def test_no_gradient_goes_to_the_teacher() -> None:
    mine, theirs = (torch.randn(4, 3).requires_grad_() for _ in range(2))
    for measure in (feature_gap, moved, lambda a, b: similarity_change(a, b, 2.0)):
        mine.grad = None
        measure(mine, theirs).backward()
        assert mine.grad is not None
        assert mine.grad.abs().sum() > 0
        assert theirs.grad is None


@pytest.mark.parametrize(("degrees", "distance"), [(0, 0.0), (60, 1.0), (90, 2.0), (180, 4.0)])
def test_rows_that_turned_by_an_angle_moved_by_two_minus_two_cosines(degrees: int, distance: float) -> None:
    angle = math.radians(degrees)
    rows = torch.tensor([[3.0, 0.0]] * 2)
    turned = torch.tensor([[math.cos(angle), math.sin(angle)]] * 2)
    assert moved(rows, turned).item() == pytest.approx(distance, abs=1e-6)


def test_rows_without_a_direction_do_no_harm() -> None:
    rows = torch.zeros(3, 4, requires_grad=True)
    for value in (moved(rows, torch.ones(3, 4)), similarity_change(rows, torch.ones(3, 4), 1.0)):
        (gradient,) = torch.autograd.grad(value, rows)
        assert math.isfinite(value.item())
        assert bool(torch.isfinite(gradient).all())


def test_a_space_that_turned_as_a_whole_keeps_its_similarities() -> None:
    rows = torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1)
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert similarity_change(rows @ turn, rows, 2.0).item() == pytest.approx(0.0, abs=1e-12)
    assert moved(rows @ turn, rows).item() > 0.1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_change_of_similarities_equals_a_plain_sum(temperature: float) -> None:
    mine, theirs = (torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1) for _ in range(2))
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        p, q = (
            [math.exp(float(x[i] @ x[j]) / temperature) for j in others] for x in (theirs, mine)
        )  # before they are divided by their sums
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    expected = temperature**2 * total / 5
    assert similarity_change(mine, theirs, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_two_rows_have_nothing_to_be_compared_with() -> None:
    rows = torch.randn(2, 3, requires_grad=True)
    value = similarity_change(rows, torch.randn(2, 3), 1.0)
    value.backward()
    assert value.item() == 0.0
    assert rows.grad is not None
    assert bool((rows.grad == 0).all())

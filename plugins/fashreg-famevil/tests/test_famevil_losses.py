"""Closed forms: losses, distillation, schedules, mixing of gradients."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from fashreg_famevil.balancing import adaptive_scales, impartial, order_of, shares
from fashreg_famevil.losses import (
    caption_loss,
    caption_targets,
    distillation,
    matching_distillation,
    matching_logits,
    matching_loss,
)
from hypothesis import given
from hypothesis import strategies as st


def test_matching_of_orthonormal_pairs_costs_what_the_formula_says() -> None:
    rows = torch.eye(4, dtype=torch.float64)
    assert float(matching_loss(matching_logits(rows, rows, 4.0))) == pytest.approx(3.376055e-07, rel=1e-6)
    rows = torch.eye(2, dtype=torch.float64)
    assert float(matching_loss(matching_logits(rows, rows, 2.0))) == pytest.approx(0.01814993, abs=1e-8)


def test_matching_where_all_are_alike_costs_log_b() -> None:
    rows = torch.ones(4, 8)
    for both in (True, False):
        assert float(matching_loss(matching_logits(rows, rows, 4.0), both_ways=both)) == pytest.approx(math.log(4))


def test_distillation_from_a_softer_teacher_costs_what_the_formula_says() -> None:
    rows = torch.eye(2, dtype=torch.float64)
    student, teacher = matching_logits(rows, rows, 2.0), matching_logits(rows, rows, 1.0)
    assert float(matching_distillation(student, teacher)) == pytest.approx(1.09391561, abs=1e-8)
    assert float(matching_distillation(teacher, teacher)) == pytest.approx(0.58220311, abs=1e-8)


def test_a_student_that_agrees_gets_no_gradient_and_the_teacher_never_does() -> None:
    torch.manual_seed(0)
    image, text = (torch.randn(6, 8, dtype=torch.float64) for _ in range(2))
    mine = [x.clone().requires_grad_() for x in (image, text)]
    theirs = [x.clone().requires_grad_() for x in (image, text)]
    matching_distillation(matching_logits(*mine, 4.0), matching_logits(*theirs, 4.0)).backward()
    assert all(x.grad is not None and x.grad.abs().max() < 1e-7 for x in mine)
    assert all(x.grad is None for x in theirs)


def test_distillation_can_leave_rows_out() -> None:
    student, teacher = torch.randn(5, 7), torch.randn(5, 7)
    counts = torch.tensor([True, False, True, True, False])
    assert torch.allclose(distillation(student, teacher, counts), distillation(student[counts], teacher[counts]))


def test_zero_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    tokens = torch.tensor([[49406, 5, 49407, 0, 0]])
    assert float(caption_loss(torch.zeros(1, 5, 49408), tokens)) == pytest.approx(10.807868, abs=1e-6)


def test_what_follows_the_end_of_a_text_is_not_learnt_unless_asked() -> None:
    tokens = torch.tensor([[98, 7, 99, 0, 0], [98, 7, 8, 9, 99]])
    assert caption_targets(tokens).tolist() == [[7, 99, -100, -100], [7, 8, 9, 99]]
    assert caption_targets(tokens, count_padding=True).tolist() == [[7, 99, 0, 0], [7, 8, 9, 99]]


def test_tasks_are_drawn_in_proportion_to_their_rows() -> None:
    sizes = {"itc": 60147, "tgir": 18000, "scr": 60147, "cap": 60147}
    found = shares(sizes, "size-proportional")
    assert found["itc"] == pytest.approx(0.3030976, abs=1e-7)
    assert found["tgir"] == pytest.approx(0.0907071, abs=1e-7)
    assert set(shares(sizes, "uniform").values()) == {0.25}


@given(
    lengths=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), min_size=1),
    how=st.sampled_from(["size-proportional", "uniform", "round-robin"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_epoch_deals_every_batch_of_every_task_once(lengths: dict[str, int], how: str, seed: int) -> None:
    order = order_of(lengths, how, [seed, 1])
    assert Counter(order) == Counter({task: n for task, n in lengths.items() if n})
    assert order == order_of(lengths, how, [seed, 1])
    if how == "round-robin":
        for start in range(len(order)):
            assert len(set(order[start : start + 2])) == 2 or len(set(order[start:])) == 1


def test_adaptive_scales_are_as_worked_out_by_hand() -> None:
    bases = {"itc": 0.7, "tgir": 0.6, "scr": 0.9, "cap": 0.4}
    found = adaptive_scales({"itc": 0.63, "tgir": 0.54, "scr": 0.855, "cap": 0.30}, bases)
    wanted = {"itc": 0.99906190, "tgir": 0.99906190, "scr": 0.99718569, "cap": 1.00469052}
    assert found == pytest.approx(wanted, abs=1e-8)
    found = adaptive_scales({"itc": 0.70, "tgir": 0.54, "scr": 0.90, "cap": 0.36}, bases)
    assert found == pytest.approx({"itc": 0.95, "tgir": 1.05, "scr": 0.95, "cap": 1.05})


def test_a_score_far_beyond_its_base_scales_by_the_limit_and_no_further() -> None:
    assert adaptive_scales({"a": 0.5, "b": 0.2}, {"a": 1e-7, "b": 0.4}) == {"a": 0.5, "b": 1.5}
    assert adaptive_scales({"a": 1.0}, {"a": 1e-9}) == {"a": 1.0}


def test_impartial_mixing_is_as_worked_out_by_hand() -> None:
    mixed = impartial([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
    assert torch.allclose(mixed, torch.tensor([2 / 3, 2 / 3]))


@given(seed=st.integers(0, 10_000), tasks=st.integers(2, 4))
def test_the_mix_projects_equally_on_every_gradient(seed: int, tasks: int) -> None:
    random = torch.Generator().manual_seed(seed)
    gradients = [torch.randn(3, 5, generator=random) * 10.0**k for k in range(tasks)]
    mixed = impartial(gradients).double()
    projections = [float((mixed * g).sum() / g.double().norm()) for g in gradients]
    assert max(projections) - min(projections) <= 1e-4 * max(1.0, max(map(abs, projections)))


def test_gradients_of_nothing_take_no_part() -> None:
    one, none = torch.tensor([3.0, 4.0]), torch.zeros(2)
    assert torch.equal(impartial([none, one, none]), one)
    assert torch.equal(impartial([none, none]), none)
    assert float(impartial([torch.tensor([2.0]), torch.tensor([4.0])])) == 3.0
    assert torch.isfinite(impartial([one, one, one])).all()

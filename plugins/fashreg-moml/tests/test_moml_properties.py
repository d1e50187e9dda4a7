"""What holds for any batch, any norms, any values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from fashreg_moml.combination import LEAST, MOST, Balanced, DynamicAverage, GradNorm, LossStatistics, made
from fashreg_moml.contribution import Contribution, on_sphere
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.miner import TwoRelationMiner
from hypothesis import given, settings
from hypothesis import strategies as st
from moml_plain import plain_mining, random_batch, unit

from fashreg.functional.pairs import pair_masks
from fashreg.values import Embedded

THERE = (True, True, True)
seeds, norms = st.integers(0, 2**16), st.lists(st.floats(1e-2, 1e2), min_size=4, max_size=4)
thrice = st.lists(st.floats(1e-2, 1e2), min_size=3, max_size=3)


def contribution(found: list[float], momentum: float = 0.0) -> Contribution:
    made = Contribution(momentum).double()
    made.take(torch.tensor(found, dtype=torch.float64), torch.tensor(0.0).double(), torch.ones(1, 1).double())
    return made


def relations(seed: int, b: int = 12, classes: int = 5) -> tuple[Embedded, torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = random_batch(b, 4, classes, seed)
    x, p = unit(batch.vectors), unit(random_batch(classes, 4, classes, seed + 1).vectors)
    return batch, x @ x.T, x @ p[batch.labels].T, x @ p.T


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 0.5), st.booleans())
def test_the_pairs_that_stay_are_those_found_one_by_one(seed: int, eta: float, epsilon: float, virtual: bool) -> None:
    batch, s, t, by_class = relations(seed, 9, 6)
    found = TwoRelationMiner("joint", epsilon, virtual)(s, t, *pair_masks(batch), eta)
    positive, negative, own = plain_mining(s, by_class, batch.labels, eta, epsilon, virtual)
    assert torch.equal(found[0], positive)
    assert torch.equal(found[1], negative)
    assert torch.equal(found[2], ~own.isnan())


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_union_holds_what_either_relation_keeps_and_intersection_what_both_do(seed: int) -> None:
    batch, s, t, _ = relations(seed)
    masks = pair_masks(batch)
    rows, proxies = (TwoRelationMiner("joint", 0.1, True)(s, t, *masks, eta) for eta in (0.0, 1.0))
    union, both = (TwoRelationMiner(mining, 0.1, True)(s, t, *masks, 0.5) for mining in ("union", "intersection"))
    for a, c, either, each in zip(rows, proxies, union, both, strict=True):
        assert torch.equal(either, a | c)
        assert torch.equal(each, a & c)
    assert all(torch.equal(a, c) for a, c in zip(rows, TwoRelationMiner("union")(s, t, *masks, 0.0), strict=True))


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_with_an_endless_margin_every_pair_stays(seed: int) -> None:
    batch, s, t, _ = relations(seed)
    masks = pair_masks(batch)
    for mining in ("joint", "union", "intersection"):
        found = TwoRelationMiner(mining, 10.0, True)(s, t, *masks, 0.5)  # type: ignore[arg-type]
        assert torch.equal(found[1], masks[1].bool())
        assert torch.equal(found[0], masks[0].bool())
        assert torch.equal(found[2], ~masks[0].bool().any(1))


@settings(max_examples=50, deadline=None)
@given(norms, st.floats(0.1, 3), st.floats(0.1, 3))
def test_balanced_weights_reach_the_aim_or_a_limit(found: list[float], pair: float, repulsion: float) -> None:
    rule = Balanced((pair, 1.0, repulsion), THERE).double()
    rule.learn(torch.ones(3), contribution(found), True)
    a, _, c = rule.weights().tolist()
    assert a == pytest.approx(min(MOST, max(LEAST, pair * found[1] / found[0])), rel=1e-5)
    assert c == pytest.approx(min(MOST, max(LEAST, repulsion * found[2] / found[3])), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(thrice, st.floats(0.1, 10))
def test_loss_statistics_make_every_weighed_value_its_weight(values: list[float], factor: float) -> None:
    rule = LossStatistics((2.0, 1.0, 0.5), THERE, 0.9).double()
    for _ in range(3):
        rule.learn(factor * torch.tensor(values, dtype=torch.float64), contribution([1, 1, 1, 1]), False)
    weighed = rule.weights() * factor * torch.tensor(values, dtype=torch.float64)
    if all(LEAST < w < MOST for w in rule.weights().tolist()):
        assert weighed.tolist() == pytest.approx([2.0, 1.0, 0.5], rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(norms, thrice)
def test_gradnorm_gives_objectives_that_lag_behind_the_larger_contribution(n: list[float], left: list[float]) -> None:
    rule, found = GradNorm(THERE, 0.0).double(), contribution(n)
    for values in ([1.0, 1.0, 1.0], left):
        rule.learn(torch.tensor(values, dtype=torch.float64), found, True)
    a, b, c = rule.weights().tolist()
    assert a + b + c == pytest.approx(3.0)
    wanted = (left[0] / left[1]) ** 1.5 * n[1] / n[0]
    if LEAST < wanted < MOST:
        assert a / b == pytest.approx(wanted, rel=1e-5)


def test_dynamic_average_follows_the_slopes_of_epochs() -> None:
    rule, still = DynamicAverage(THERE, 2).double(), contribution([1, 1, 1, 1])
    for values in ([4.0, 2.0, 1.0], [2.0, 2.0, 1.0], [1.5, 2.0, 3.0], [1.5, 2.0, 1.0]):
        rule.learn(torch.tensor(values, dtype=torch.float64), still, False)
    odds = [math.exp(slope / 2) for slope in (1.5 / 3, 1.0, 2.0)]
    assert rule.weights().tolist() == pytest.approx([3 * o / sum(odds) for o in odds])
    rule.learn(torch.full((3,), torch.nan), still, False)
    assert rule.weights().tolist() == pytest.approx([3 * o / sum(odds) for o in odds])


@pytest.mark.parametrize("rule", ["gradnorm", "dynamic-average", "uncertainty"])
def test_an_objective_that_is_left_out_takes_no_part_of_the_weight(rule: Any) -> None:
    found = made(rule, (1.0, 1.0, 1.0), (False, True, True), 0.0, 1)
    for value in (1.0, 2.0):
        found.learn(torch.tensor([0.0, value, 1.0]), contribution([0.0, 1.0, 1.0, 1.0]).float(), True)
    if rule == "uncertainty":
        assert found.penalty() is not None
        found.penalty().backward()  # type: ignore[union-attr]
        assert [p.grad.tolist() for p in found.parameters()] == [[0.0, 0.5, 0.5]]  # type: ignore[union-attr]
    else:
        assert float(found.weights()[1:].sum()) == pytest.approx(2.0)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_a_gradient_on_the_sphere_has_no_part_along_the_row_and_knows_no_length(seed: int) -> None:
    rows, gradient = random_batch(5, 4, 2, seed).vectors, random_batch(5, 4, 2, seed + 1).vectors
    found = on_sphere(gradient, rows)
    assert found is not None
    assert float((found * rows).sum(1).abs().max()) < 1e-10 * float(found.abs().max() * rows.abs().max() + 1)
    scaled = on_sphere(gradient / 3, rows * 3)
    assert scaled is not None
    assert torch.allclose(scaled, found, rtol=1e-10, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from(["balanced", "fixed", "loss-statistics", "uncertainty", "gradnorm"]), st.integers(1, 14))
def test_any_batch_gives_finite_values_gradients_and_weights(seed: int, rule: Any, b: int) -> None:
    torch.manual_seed(seed)
    loss = MultiObjectiveLoss(num_classes=4, embed_dim=6, rule=rule, every=1)
    for step in range(3):
        batch = random_batch(b, 6, 4, seed + step)
        leaf = replace(batch, vectors=(batch.vectors * 10 ** (step - 1)).float().requires_grad_())
        value = loss(leaf)
        value.backward()
        assert bool(torch.isfinite(value))
        assert leaf.vectors.grad is not None
        assert bool(torch.isfinite(leaf.vectors.grad).all())
        assert bool(torch.isfinite(loss.weighing.weights()).all())
        assert all(0 <= float(loss.parts[f"share[{name}]"]) <= 1 for name in ("pair", "repulsion"))

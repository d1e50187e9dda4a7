"""What goes wrong with three objectives, and what is done about it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from fashreg_moml.combination import MOST, Balanced
from fashreg_moml.contribution import Contribution
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.repulsion import ProxyRepulsionLoss
from moml_asking import asking, made
from moml_plain import at, random_batch, toy, toy_loss

from fashreg.functional.similarity import unit_rows
from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import DIM, tiny_experience, tiny_session
from fashreg.values import Embedded


def learnt(loss: MultiObjectiveLoss, **trainer: Any) -> MultiObjectiveLoss:
    trainer = {"epochs": 3, "optimizer": "sgd", "momentum": 0.0, "lr": 0.001, **trainer}
    StandardLearner().bind(tiny_session(loss=loss, memory=None, trainer=trainer)).learn(tiny_experience())
    return loss


# ---- vanishing objectives ----


def test_steps_in_which_an_objective_is_zero_are_left_out_of_its_mean() -> None:
    found = Contribution(0.5)
    steps = [[2.0, 3.0, 4.0, 5.0], [0.0, 3.0, 4.0, 0.0], [torch.nan, torch.inf, 4.0, 0.0], [4.0, 3.0, 4.0, 5.0]]
    for norms in steps:
        found.take(torch.tensor(norms), torch.tensor(0.5), torch.ones(1, 1))
    assert found.seen.tolist() == [2, 3, 4, 2]
    assert found.norms().tolist() == pytest.approx([(0.25 * 2 + 0.5 * 4) / 0.75, 3.0, 4.0, 5.0])


def test_a_batch_without_pairs_changes_neither_the_pairs_mean_nor_their_weight() -> None:
    loss = made(every=1, virtual=False)
    loss(asking(random_batch(12, DIM, 6)))
    before = copy.deepcopy(loss.contribution.state_dict()), float(loss.parts["weight[pair]"])
    single = replace(random_batch(6, DIM, 6, 1), labels=torch.arange(6))
    loss(asking(single))
    assert float(loss.parts["pair"]) == 0
    assert torch.equal(loss.contribution.means[0], before[0]["means"][0])
    assert float(loss.parts["weight[pair]"]) > 0
    loss.zero_grad()
    loss(asking(single)).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in loss.parameters() if p.grad is not None)


def test_an_objective_that_all_but_vanished_gets_a_bounded_weight() -> None:
    rule, found = Balanced((1.0, 1.0, 1.0), (True, True, True)), Contribution(0.0)
    found.take(torch.tensor([1e-9, 1.0, 1.0, 1e-30]), torch.tensor(0.0), torch.ones(1, 1))
    rule.learn(torch.ones(3), found, True)
    assert rule.weights().tolist() == [MOST, 1.0, MOST]


def test_an_objective_that_comes_back_is_held_to_four_times_what_was_aimed_at() -> None:
    rule, found = Balanced((1.0, 1.0, 0.1), (True, True, True)), Contribution(0.99)
    for norms in ([0.01, 1.0, 1.0, 0.001], [5.0, 1.0, 1.0, 2.0]):
        found.take(torch.tensor(norms), torch.tensor(0.0), torch.ones(1, 1))
        rule.learn(torch.ones(3), found, True)
    assert float(1 / found.norms()[0]) * 5.0 < 4.0, "the mean of both is enough to hold the pairs"
    assert (rule.weights() * torch.tensor([5.0, 1.0, 2.0])).tolist() == pytest.approx([2.0, 1.0, 0.2], rel=0.02)
    found.take(torch.tensor([500.0, 1.0, 1.0, 1.0]), torch.tensor(0.0), torch.ones(1, 1))
    rule.learn(torch.ones(3), found, True)
    assert float(rule.weights()[0]) * 500.0 == pytest.approx(3.0, rel=0.02)
    slow = Contribution(0.999)
    slow.take(torch.tensor([0.01, 1.0, 1.0, 1.0]), torch.tensor(0.0), torch.ones(1, 1))
    for _ in range(20):
        slow.take(torch.tensor([0.01, 1.0, 1.0, 1.0]), torch.tensor(0.0), torch.ones(1, 1))
    slow.take(torch.tensor([9.0, 1.0, 1.0, 1.0]), torch.tensor(0.0), torch.ones(1, 1))
    rule.learn(torch.ones(3), slow, True)
    assert float(rule.weights()[0]) * 9.0 == pytest.approx(4.0, rel=1e-5)


def test_shares_are_those_of_the_step_measured_last() -> None:
    found = Contribution(0.9)
    for norms in ([1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 1.0, 0.0]):
        found.take(torch.tensor(norms), torch.tensor(0.0), torch.ones(1, 1))
    shares = found.shares(torch.tensor([1.0, 2.0, 5.0]))
    assert {name: float(share) for name, share in shares.items()} == pytest.approx({"pair": 0.6, "repulsion": 0.0})


# ---- the start ----


def test_pairs_repulsion_and_the_second_relation_rise_over_the_first_epoch() -> None:
    loss = made(num_images=40, batch_size=10, rule="fixed", pair_weight=2.0, repulsion_weight=1.0)
    batch = random_batch(10, DIM, 6)
    rises = []
    for _ in range(6):
        eta = loss.eta_now()
        loss(asking(batch))
        rises.append((eta, float(loss.parts["weight[pair]"]), float(loss.parts["weight[repulsion]"])))
        assert float(loss.parts["weight[proxy]"]) == 1
    assert rises[0] == (0.0, 0.5, 0.25)
    assert rises[2] == (0.25, 1.5, 0.75)
    assert rises[4:] == [(0.5, 2.0, 1.0)] * 2


# ---- classes that should not be apart, classes that are not there ----


def test_doubles_are_left_alone_where_asked_for() -> None:
    proxies = at(0, 10, 60).requires_grad_()
    labels = torch.arange(3)
    loss = ProxyRepulsionLoss(num_classes=3, embed_dim=2, exempt=0.9)
    (gradient,) = torch.autograd.grad(loss.between(proxies, labels[:1]), proxies)
    assert not gradient[1].any()
    assert gradient[2].any()
    without = ProxyRepulsionLoss(num_classes=3, embed_dim=2)
    assert torch.autograd.grad(without.between(proxies, labels[:1]), proxies)[0][1].any()


def test_repulsion_moves_absent_classes_only_away_from_present_ones() -> None:
    proxies = torch.eye(4, dtype=torch.float64)
    proxies[3] = torch.tensor([0.0, 0.0, 1.0, 0.2])
    proxies.requires_grad_()
    loss = ProxyRepulsionLoss(num_classes=4, embed_dim=4)
    (present,) = torch.autograd.grad(loss.between(proxies, torch.tensor([0])), proxies)
    every = ProxyRepulsionLoss(num_classes=4, embed_dim=4, over="all")
    (all_of_them,) = torch.autograd.grad(every.between(proxies, torch.tensor([0])), proxies)
    assert float(present[3, 2].abs()) < 0.01 * float(all_of_them[3, 2].abs())
    assert float(present[3, 0]) > 0, "a step against the gradient takes it away from class 0"


def test_many_proxies_are_compared_by_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("soft-max", "largest", "hinge"):
        for k in (1, 2):
            loss = ProxyRepulsionLoss(num_classes=9, embed_dim=4, form=form, over="all", proxies_per_class=k).double()
            assert loss.proxies is not None
            found = []
            for most in (1 << 24, 40):
                monkeypatch.setattr("fashreg_moml.repulsion._SCORES", most)
                value = loss.between(loss.proxies, torch.arange(3))
                found.append((value.detach(), *torch.autograd.grad(value, loss.proxies), loss.parts["nearest"]))
            assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-15) for a, b in zip(*found, strict=True)), (form, k)


# ---- half precision, clipping, accumulation ----


RULES = ("balanced", "fixed", "loss-statistics", "uncertainty", "gradnorm", "dynamic-average")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_half_rows_give_the_weights_that_the_same_rows_widened_give(rule: Any, dtype: torch.dtype) -> None:
    batch = random_batch(12, DIM, 6)
    halves = replace(batch, vectors=batch.vectors.to(dtype))
    found = []
    for rows in (asking(halves, dtype), asking(halves)):
        loss = made(rule=rule, project=True)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(rows)
        (65536 * value).backward()  # as a loss scaler does
        found.append([float(part) for part in loss.parts.values()])
        assert bool(torch.isfinite(loss.proxies.grad).all())  # type: ignore[arg-type]
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_trains_in_half_precision(precision: str) -> None:
    loss = learnt(made(), precision=precision)
    assert loss.contribution.norms().dtype == torch.float32
    assert bool((loss.contribution.norms() > 0).all())
    assert all(bool(torch.isfinite(part)) for part in loss.parts.values())


@pytest.mark.parametrize("rule", RULES)
def test_clipping_comes_after_the_measurement_and_does_not_change_it(rule: Any) -> None:
    first = [learnt(made(rule=rule, every=1), max_steps=1, clip_value=clip) for clip in (None, 1e-6)]
    assert torch.equal(first[0].contribution.latest, first[1].contribution.latest)
    for name, value in first[0].weighing.state_dict().items():
        if rule != "uncertainty":  # its weights are the optimiser's, which sees clipped gradients
            assert torch.equal(value, first[1].weighing.state_dict()[name]), name


@pytest.mark.parametrize("rule", RULES)
def test_accumulation_measures_whole_gradients_and_counts_every_batch(rule: Any) -> None:
    whole, halves = (learnt(made(every=1, rule=rule), lr=1e-12, accumulate=count) for count in (1, 2))
    assert int(whole.steps) == int(halves.steps) == 9
    assert torch.allclose(whole.contribution.norms(), halves.contribution.norms(), rtol=1e-3)
    assert torch.allclose(whole.weighing.weights(), halves.weighing.weights(), rtol=1e-3)


def test_no_gradient_passes_through_the_backbone_but_the_one_of_the_step() -> None:
    session = tiny_session(loss=made(every=1, project=True), memory=None, trainer={"epochs": 1})
    passes = []
    last = session.encoder.head
    last.register_full_backward_hook(lambda *given: passes.append("backward"))
    last.register_forward_hook(lambda *given: passes.append("forward"))
    StandardLearner().bind(session).learn(tiny_experience())
    assert passes == ["forward", "backward"] * 3


# ---- opposed pulls ----


def test_projection_leaves_the_pairs_nothing_against_the_proxies() -> None:
    loss = toy_loss(rule="fixed")
    batch = toy(requires_grad=True)
    values = loss._values(batch)
    pair, proxy = (torch.autograd.grad(values[name], batch.vectors)[0] for name in ("pair", "proxy"))
    loss.project = True
    (both,) = torch.autograd.grad(loss(batch), batch.vectors)
    along = float((pair * proxy).sum())
    left = float(((both - proxy) * proxy).sum())
    assert left == pytest.approx(max(along, 0.0), abs=1e-9)
    loss.pair = Opposed()
    (pair,) = torch.autograd.grad(loss.pair(batch), batch.vectors)
    (both,) = torch.autograd.grad(loss(batch), batch.vectors)
    assert float((pair * proxy).sum()) < 0
    assert float(((both - proxy) * proxy).sum()) == pytest.approx(0.0, abs=1e-9)
    assert not torch.allclose(both, proxy), "what is not against stays"


class Opposed(torch.nn.Module):
    accepts_references, needs = True, frozenset[str]()

    def forward(self, batch: Embedded, *given: Any) -> torch.Tensor:
        return -(unit_rows(batch.vectors) * at(100, 100, 100, 5)).sum()

"""Numbers worked out by hand: four points and two proxies on a circle."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from fashreg_moml.combination import Uncertainty
from fashreg_moml.contribution import measure
from fashreg_moml.fused import _Walk, sharpness_of
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.miner import TwoRelationMiner
from fashreg_moml.repulsion import ProxyRepulsionLoss
from moml_plain import at, plain_anchor, plain_apart, plain_mining, plain_pairs, random_batch, toy, toy_loss, unit
from pytorch_metric_learning.miners import MultiSimilarityMiner

from fashreg.functional.pairs import pair_masks
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.values import Embedded

P, PLACES = at(10, 80), torch.tensor([0, 0, 1, 1])
EQUAL: Any = {"pair_weight": 1.0, "repulsion_weight": 1.0}


def value(name: str, **options: Any) -> float:
    loss = toy_loss(**options)
    loss(toy(requires_grad=True))
    return float(loss.parts[name])


def apart(proxies: torch.Tensor, **options: Any) -> ProxyRepulsionLoss:
    loss = ProxyRepulsionLoss(num_classes=len(proxies), embed_dim=2, **options).double()
    assert loss.proxies is not None
    loss.proxies.data.copy_(proxies)
    return loss


def test_g1_pairs_without_mining() -> None:
    assert value("pair") == pytest.approx(0.478789528, abs=1e-9)
    x = toy().vectors
    positive, negative = pair_masks(toy())
    each = [plain_pairs((x @ x.T)[[i]].expand(4, 4), positive[[i]].expand(4, 4), negative[[i]].expand(4, 4))
            for i in range(4)]  # fmt: skip
    assert each == pytest.approx([0.316381655, 0.539603590, 0.712599278, 0.346573590], abs=1e-9)


def test_g2_mining_by_rows_alone_is_the_miner_of_multi_similarity() -> None:
    assert value("pair", mining="joint", eta=0.0) == pytest.approx(0.313050717, abs=1e-9)
    x = toy().vectors
    positive, negative, _ = TwoRelationMiner("joint", 0.1, False)(x @ x.T, x @ P[PLACES].T, *pair_masks(toy()), 0.0)
    assert positive.nonzero().tolist() == [[1, 0], [2, 3]]
    assert negative.nonzero().tolist() == [[1, 2], [2, 0], [2, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_g2_the_same_pairs_stay_as_with_another_librarys_miner(seed: int) -> None:
    batch = random_batch(40, 5, 6, seed)
    x = unit(batch.vectors)
    anchors, positives, others, negatives = MultiSimilarityMiner(epsilon=0.1)(x, batch.labels)
    miner = TwoRelationMiner("joint", 0.1, virtual=False)
    positive, negative, _ = miner(x @ x.T, torch.rand(40, 40).double(), *pair_masks(batch), 0.0)
    assert sorted(positive.nonzero().tolist()) == sorted(torch.stack([anchors, positives], 1).tolist())
    assert sorted(negative.nonzero().tolist()) == sorted(torch.stack([others, negatives], 1).tolist())


def test_g3_joint_hardness() -> None:
    x = toy().vectors
    miner, masks, t = TwoRelationMiner("joint", 0.1, False), pair_masks(toy()), x @ P[PLACES].T
    positive, negative, _ = miner(x @ x.T, t, *masks, 0.5)
    assert positive.nonzero().tolist() == [[2, 3]]
    assert negative.nonzero().tolist() == [[2, 1]]
    assert value("pair", mining="joint", eta=0.5) == pytest.approx(0.178149749, abs=1e-9)
    positive, negative, _ = miner(x @ x.T, t, *masks, 1.0)
    assert not positive.any()
    assert not negative.any()
    assert value("pair", mining="joint", eta=1.0) == 0.0


def test_g3_hardness_as_it_is_compared() -> None:
    x = toy().vectors
    s, t = x @ x.T, x @ P[PLACES].T
    near, far = torch.lerp(s, t.T, 0.5), torch.lerp(s, (t + t.T) / 2, 0.5)
    found = [near[0, 1], near[2, 3], near[3, 2], far[0, 2], far[1, 2], far[0, 3], far[1, 3]]
    wanted = [0.962250, 0.683013, 0.683013, 0.556317, 0.749524, -0.171010, 0.081588]
    assert [float(h) for h in found] == pytest.approx(wanted, abs=1e-6)


def test_g4_proxies() -> None:
    assert value("proxy") == pytest.approx(23.456725664, abs=1e-9)
    batch, loss = toy(), toy_loss()
    how = sharpness_of(loss.proxy, loss.repulsion, batch)
    assert how is not None
    walk = _Walk(batch.vectors, loss.proxies.detach(), batch.labels, how, gradient=False)
    assert float(walk.near) == pytest.approx(2.31e-11, rel=2e-3)
    assert float(walk.values()[0] - walk.near) == pytest.approx(23.456725664, abs=1e-9)
    four = {"name": "proxy-anchor", "alpha": 4.0}
    assert value("proxy", proxy=four) == pytest.approx(3.185937334, abs=1e-9)


def test_g5_repulsion() -> None:
    assert value("repulsion") == pytest.approx(0.342020695, abs=1e-9)
    tenth = {"name": "proxy-repulsion", "margin": 0.1}
    assert value("repulsion", repulsion=tenth) == pytest.approx(0.242033673, abs=1e-9)
    three = at(0, 120, 240)
    every = torch.tensor([2, 0, 1, 0])
    assert float(apart(three, gamma=8.0).between(three, every)) == pytest.approx(0.004497037, abs=1e-9)
    met = apart(three, gamma=8.0, margin=-0.5).between(three, every)
    assert float(met) == pytest.approx(math.log(3) / 8, abs=1e-12)


def test_g6_norms_and_the_weights_that_follow_from_them() -> None:
    batch, loss = toy(requires_grad=True), toy_loss(**EQUAL)
    values = loss._values(batch)
    norms, _ = measure(values, batch.vectors, loss.proxies)
    wanted = [0.767916570, 17.255777029, 17.256145761, 1.328902591]
    assert norms.tolist() == pytest.approx(wanted, abs=1e-8)
    of_pair = torch.autograd.grad(values["pair"], loss.proxies, retain_graph=True, allow_unused=True)[0]
    of_apart = torch.autograd.grad(values["repulsion"], batch.vectors, retain_graph=True, allow_unused=True)[0]
    assert of_pair is None or not of_pair.any()
    assert of_apart is None or not of_apart.any()
    loss(batch)
    assert float(loss.parts["weight[pair]"]) == pytest.approx(22.470900765, abs=1e-6)
    assert float(loss.parts["weight[repulsion]"]) == pytest.approx(12.985260081, abs=1e-6)
    assert float(loss.parts["share[pair]"]) == pytest.approx(0.5)
    assert float(loss.parts["share[repulsion]"]) == pytest.approx(0.5)


class Times(MultiSimilarityLoss):
    factor = 1.0

    def forward(self, *given: Any) -> torch.Tensor:
        return self.factor * super().forward(*given)


@pytest.mark.parametrize("aim", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("factor", [0.05, 1.0, 30.0])
def test_g7_the_scale_of_a_part_does_not_matter_and_the_aim_is_reached(factor: float, aim: float) -> None:
    pair = Times()
    pair.factor = factor
    loss = toy_loss(pair=pair, pair_weight=aim, repulsion_weight=aim)
    batch = toy(requires_grad=True)
    loss(batch)
    assert float(loss.parts["weight[pair]"]) * factor == pytest.approx(22.470900765 * aim, rel=1e-6)
    norms, _ = measure(loss._values(batch), batch.vectors, loss.proxies)
    weights = loss.weighing.weights()
    assert float(weights[0] * norms[0] / norms[1]) == pytest.approx(aim, rel=1e-6)
    assert float(weights[2] * norms[3] / norms[2]) == pytest.approx(aim, rel=1e-6)


def gradients(loss: Any, batch: Embedded) -> tuple[torch.Tensor, ...]:
    leaf = batch.vectors.clone().requires_grad_()
    found = loss(replace(batch, vectors=leaf))
    loss.zero_grad()
    found.backward()
    return (found.detach(), leaf.grad, *[p.grad for p in loss.parameters() if p.grad is not None])  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["balanced", "fixed"])
def test_g8_without_the_other_parts_it_is_proxy_anchor_to_the_bit(rule: Any) -> None:
    batch = random_batch(12, 8, 5)
    loss = MultiObjectiveLoss(num_classes=5, embed_dim=8, rule=rule, pair_weight=0.0, repulsion_weight=0.0).double()
    alone = ProxyAnchorLoss(num_classes=5, embed_dim=8).double()
    alone.proxies.data.copy_(loss.proxies)
    for found, wanted in zip(gradients(loss, batch), gradients(alone, batch), strict=True):
        assert torch.equal(found, wanted)


def test_g8_pairs_alone_are_multi_similarity() -> None:
    batch = random_batch(12, 8, 5)
    loss = toy_loss(rule="fixed", repulsion=None)
    by_both = gradients(MultiSimilarityLoss(), toy())
    leaf = toy(requires_grad=True)
    (found,) = torch.autograd.grad(loss._values(leaf)["pair"], leaf.vectors)
    assert torch.equal(found, by_both[1])
    mined = MultiObjectiveLoss(num_classes=5, embed_dim=8, eta=0.0, virtual=False).double()
    leaf = replace(batch, vectors=batch.vectors.clone().requires_grad_())
    value = mined._values(leaf)["pair"]
    wanted = gradients(MultiSimilarityLoss(epsilon=0.1), batch)
    assert torch.equal(value.detach(), wanted[0])
    assert torch.equal(torch.autograd.grad(value, leaf.vectors)[0], wanted[1])


def test_g8_repulsion_of_no_weight_leaves_the_proxies_where_two_objectives_put_them() -> None:
    ends = []
    for options in ({"repulsion": None}, {"repulsion_weight": 0.0}):
        torch.manual_seed(0)
        loss = MultiObjectiveLoss(num_classes=5, embed_dim=8, **options)
        optimizer = torch.optim.SGD(loss.parameters(), 0.1)
        for seed in range(5):
            batch = random_batch(12, 8, 5, seed)
            optimizer.zero_grad()
            loss(replace(batch, vectors=batch.vectors.float().requires_grad_())).backward()
            optimizer.step()
        ends.append(loss.proxies.detach().clone())
    assert torch.equal(*ends)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_g9_a_simplex_is_as_far_apart_as_proxies_can_be(classes: int) -> None:
    corners = torch.eye(classes, dtype=torch.float64) - 1 / classes
    for proxies in (corners, torch.randn(classes, classes, dtype=torch.float64)):
        u = unit(proxies) @ unit(proxies).T
        mean = (u.sum() - classes) / (classes * (classes - 1))
        assert mean >= -1 / (classes - 1) - 1e-12
    simplex = unit(corners).requires_grad_()
    u = simplex.detach() @ simplex.detach().T
    assert torch.allclose(u[~torch.eye(classes, dtype=torch.bool)], torch.tensor(-1 / (classes - 1)).double())
    loss = ProxyRepulsionLoss(num_classes=classes, embed_dim=classes, margin=-1.0, gamma=4.0)
    (gradient,) = torch.autograd.grad(loss.between(simplex, torch.arange(classes)), simplex)
    assert gradient.abs().max() < 1e-14


def everything(loss: MultiObjectiveLoss, batch: Embedded) -> tuple[list[float], list[Any]]:
    leaf = replace(batch, vectors=batch.vectors.clone().requires_grad_())
    loss(leaf)
    x = unit(batch.vectors)
    t = x @ unit(loss.proxies.detach())[batch.labels].T
    kept = TwoRelationMiner()(x @ x.T, t, *pair_masks(batch), 0.5)
    return [float(loss.parts[name]) for name in ("pair", "proxy", "repulsion")], [m.nonzero().tolist() for m in kept]


def test_g10_turning_the_space_and_renaming_classes_changes_nothing() -> None:
    batch = random_batch(14, 6, 5)
    loss = MultiObjectiveLoss(num_classes=5, embed_dim=6).double()
    values, kept = everything(copy.deepcopy(loss), batch)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    turned = copy.deepcopy(loss)
    turned.proxies.data.copy_(loss.proxies @ turn)
    found, same = everything(turned, replace(batch, vectors=batch.vectors @ turn))
    assert found == pytest.approx(values, rel=1e-10)
    assert same == kept
    names = torch.tensor([3, 0, 4, 1, 2])
    renamed = copy.deepcopy(loss)
    renamed.proxies.data[names] = loss.proxies.data
    found, same = everything(renamed, replace(batch, labels=names[batch.labels]))
    assert found == pytest.approx(values, rel=1e-10)
    assert same == kept


def test_g11_a_batch_of_single_images_pulls_each_to_its_proxy() -> None:
    batch = replace(random_batch(5, 6, 5), labels=torch.tensor([3, 1, 0, 4, 2]))
    for virtual in (True, False):
        loss = MultiObjectiveLoss(num_classes=5, embed_dim=6, virtual=virtual).double()
        loss(replace(batch, vectors=batch.vectors.clone().requires_grad_()))
        s = unit(batch.vectors) @ unit(batch.vectors).T
        t = unit(batch.vectors) @ unit(loss.proxies.detach()).T
        positive, negative, own = plain_mining(s, t, batch.labels, 0.5, 0.1, virtual)
        assert float(loss.parts["pair"]) == pytest.approx(plain_pairs(s, positive, negative, own), rel=1e-9)
        assert (float(loss.parts["pair"]) > 0) == virtual


def test_g11_a_batch_of_one_class_has_other_proxies_only() -> None:
    batch = replace(random_batch(6, 6, 5), labels=torch.full((6,), 2))
    loss = MultiObjectiveLoss(num_classes=5, embed_dim=6).double()
    found = gradients(loss, batch)
    assert all(bool(torch.isfinite(x).all()) for x in found)
    assert float(loss.parts["pair"]) == 0
    t = unit(batch.vectors) @ unit(loss.proxies.detach()).T
    assert float(loss.parts["proxy"]) == pytest.approx(plain_anchor(t, batch.labels), rel=1e-12)
    assert bool(found[2].any(1).all()), "every proxy is pulled or pushed"


@pytest.mark.parametrize(
    ("constant", "rest", "objective"), [(2, 0.693147181, 0.846573590), (0.5, -0.693147181, 0.153426410)]
)
def test_g12_uncertainty_comes_to_rest_at_the_log_of_the_value(constant: float, rest: float, objective: float) -> None:
    rule = Uncertainty((True, True, True)).double()
    optimizer = torch.optim.SGD(rule.parameters(), 1.0)
    for _ in range(200):
        optimizer.zero_grad()
        penalty = rule.penalty()
        assert penalty is not None
        (rule.weights() * constant).sum().add(penalty).backward()
        optimizer.step()
    assert rule.log_variance.tolist() == pytest.approx([rest] * 3, abs=1e-8)
    with torch.no_grad():
        total = (rule.weights() * constant).sum() + (rule.penalty() or 0)
    assert float(total) / 3 == pytest.approx(objective, abs=1e-8)


@pytest.mark.parametrize("name", ["pair", "proxy", "repulsion"])
@pytest.mark.parametrize("k", [1, 2])
def test_g13_gradients_are_those_of_central_differences(name: str, k: int) -> None:
    torch.manual_seed(1)
    batch = random_batch(9, 5, 4)
    loss = MultiObjectiveLoss(num_classes=4, embed_dim=5, mining=None, virtual=False, proxies_per_class=k).double()
    x, w = batch.vectors.clone().requires_grad_(), loss.proxies
    found = torch.autograd.grad(loss._values(replace(batch, vectors=x))[name], (x, w), allow_unused=True)
    for source, gradient in zip((x, w), found, strict=True):
        step = 1e-6 * torch.randn(source.shape, dtype=torch.float64)
        ends = []
        for side in (1, -1):
            with torch.no_grad():
                source.add_(side * step)
                ends.append(float(loss._values(replace(batch, vectors=x))[name]))
                source.sub_(side * step)
        slope = (ends[0] - ends[1]) / 2
        wanted = 0.0 if gradient is None else float((gradient * step).sum())
        assert slope == pytest.approx(wanted, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_the_formulas_in_loops(seed: int, eta: float) -> None:
    batch = random_batch(11, 4, 6, seed)
    loss = MultiObjectiveLoss(num_classes=6, embed_dim=4, eta=eta).double()
    loss(replace(batch, vectors=batch.vectors.clone().requires_grad_()))
    x, p = unit(batch.vectors), unit(loss.proxies.detach())
    positive, negative, own = plain_mining(x @ x.T, x @ p.T, batch.labels, eta, 0.1, virtual=True)
    wanted = {
        "pair": plain_pairs(x @ x.T, positive, negative, own),
        "proxy": plain_anchor(x @ p.T, batch.labels),
        "repulsion": plain_apart(p @ p.T, sorted(set(batch.labels.tolist()))),
    }
    for name, found in wanted.items():
        assert float(loss.parts[name]) == pytest.approx(found, rel=1e-10, abs=1e-14)

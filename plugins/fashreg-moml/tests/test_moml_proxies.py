"""Proxies: several a class, new classes, first values, how near they are; and the one walk over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fashreg_moml.fused import anchored_and_apart, sharpness_of
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.proxies import proxy_similarity
from fashreg_moml.relations import own_proxies
from fashreg_moml.repulsion import ProxyRepulsionLoss
from hypothesis import given, settings
from hypothesis import strategies as st
from moml_plain import at, plain_apart, random_batch, unit

from fashreg import build, spec_of
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.values import Embedded


def made(**options: Any) -> MultiObjectiveLoss:
    torch.manual_seed(0)
    return MultiObjectiveLoss(num_classes=5, embed_dim=6, **options).double()


def asking(batch: Embedded) -> Embedded:
    return replace(batch, vectors=batch.vectors.clone().requires_grad_())


def test_a_rows_own_proxy_is_the_nearest_of_its_class_and_the_others_are_left_out() -> None:
    proxies = at(0, 30, 90, 120)
    batch = Embedded(at(40, 80, 20), torch.tensor([0, 1, 1]), torch.arange(3))
    wanted = [[-1, 1, 0, 0], [0, 0, 1, -1], [0, 0, 1, -1]]
    assert own_proxies(batch, proxies, 2).tolist() == wanted


def test_several_proxies_of_a_class_do_not_repel_one_another() -> None:
    proxies = at(0, 5, 90, 100)
    loss = ProxyRepulsionLoss(num_classes=2, embed_dim=2, proxies_per_class=2).double()
    found = loss.between(proxies, torch.tensor([0]))
    u = proxies @ proxies.T
    first = plain_apart(u[[0, 2, 3]][:, [0, 2, 3]], [0])
    second = plain_apart(u[[1, 2, 3]][:, [1, 2, 3]], [0])
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-12)


def test_equal_proxies_of_a_class_are_one_to_the_pairs_and_the_rows() -> None:
    batch = random_batch(12, 6, 5)
    one, three = made(), made(proxies_per_class=3)
    with torch.no_grad():
        three.proxies.copy_(one.proxies.repeat_interleave(3, 0))
    for loss in (one, three):
        loss(asking(batch))
    assert float(one.parts["pair"]) == pytest.approx(float(three.parts["pair"]), rel=1e-12)
    own = torch.arange(5) * 3
    (one_by_rows, *_), (three_by_rows, *_) = (
        torch.autograd.grad(loss._values(leaf)["pair"], leaf.vectors)
        for loss, leaf in ((one, asking(batch)), (three, asking(batch)))
    )
    assert torch.allclose(one_by_rows, three_by_rows, rtol=1e-10)
    assert torch.equal(three.proxies[own], one.proxies)


def test_a_new_class_gets_proxies_and_the_old_ones_stay() -> None:
    for k in (1, 2):
        loss = made(proxies_per_class=k)
        before = loss.proxies.detach().clone()
        means = torch.randn(2, 6, dtype=torch.float64)
        loss.add_classes(2, means)
        assert loss.num_classes == 7
        assert loss.proxies.shape == (7 * k, 6)
        assert torch.equal(loss.proxies[: 5 * k], before)
        assert torch.allclose(unit(loss.proxies.detach())[5 * k :], unit(means).repeat_interleave(k, 0))
        batch = replace(random_batch(14, 6, 5), labels=torch.arange(14) % 7)
        loss(asking(batch)).backward()
        assert loss.proxies.grad is not None
        assert bool(loss.proxies.grad.any(1).all())
        again = build("loss", spec_of(loss)).double()
        again.load_state_dict(loss.state_dict())
        assert torch.equal(again.proxies, loss.proxies)


def test_what_new_classes_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        made().add_classes(0)
    with pytest.raises(ValueError, match=r"\(2, 6\)|\(count, 6\)"):
        made().add_classes(2, torch.zeros(3, 6))


def test_proxies_start_at_the_mean_of_the_first_rows_of_their_class() -> None:
    loss = made(init="class-means")
    lengths = loss.proxies.norm(dim=1)
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    batch = replace(random_batch(6, 6, 5), labels=labels)
    loss(asking(batch))
    met = unit(batch.vectors)
    for label in (0, 2):
        assert torch.allclose(unit(loss.proxies.detach())[label], unit(met[labels == label].mean(0, keepdim=True))[0])
    assert torch.allclose(loss.proxies.norm(dim=1), lengths)
    after = loss.proxies.detach().clone()
    loss(asking(replace(random_batch(6, 6, 5, 1), labels=torch.tensor([0, 0, 1, 1, 2, 2]))))
    assert torch.equal(after[[0, 2, 3, 4]], loss.proxies[[0, 2, 3, 4]]), "a class is met once"
    assert not torch.equal(after[1], loss.proxies[1])
    loss.eval()(asking(replace(batch, labels=torch.full((6,), 4))))
    assert not bool(loss.met[4])


def test_all_class_means_can_be_set_at_once() -> None:
    loss = made(proxies_per_class=2)
    batch = replace(random_batch(20, 6, 5), labels=torch.arange(20) % 5)
    loss.set_class_means(batch.vectors, batch.labels)
    x = unit(batch.vectors)
    for c in range(5):
        mine = x[batch.labels == c]
        for turn in range(2):
            wanted = unit(mine[turn::2].mean(0, keepdim=True))[0]
            assert torch.allclose(unit(loss.proxies.detach())[2 * c + turn], wanted)


def test_how_near_proxies_are_counts_different_classes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = at(0, 10, 60, 180)
    u = proxies @ proxies.T
    for most in (1 << 24, 5):
        monkeypatch.setattr("fashreg_moml.proxies._SCORES", most)
        one = proxy_similarity(proxies)
        assert one["largest"] == pytest.approx(float(u[0, 1]))
        assert one["mean"] == pytest.approx(float((u.sum() - 4) / 12))
        two = proxy_similarity(proxies, 2)
        assert two["largest"] == pytest.approx(float(u[1, 2]))
        assert two["mean"] == pytest.approx(float(u[:2, 2:].mean()))
    assert proxy_similarity(proxies[:1]) == {"mean": 0.0, "largest": 0.0}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 2**16))
def test_one_walk_gives_what_the_two_losses_give(b: int, classes: int, d: int, unit_rows: bool, seed: int) -> None:
    torch.manual_seed(seed)
    anchor = ProxyAnchorLoss(num_classes=classes, embed_dim=d).double()
    repulsion = ProxyRepulsionLoss(num_classes=classes, embed_dim=d).double()
    batch = random_batch(b, d, classes, seed, cone=0.2)
    if unit_rows:
        batch = replace(batch, vectors=unit(batch.vectors), unit=True)
    weights = torch.rand(2, dtype=torch.float64)
    found = []
    for together in (True, False):
        leaf, anchor.proxies.grad = asking(batch), None
        if together:
            how = sharpness_of(anchor, repulsion, leaf)
            assert how is not None
            one, other, nearest = anchored_and_apart(leaf, anchor.proxies, how)
        else:
            one, other = anchor(leaf), repulsion.between(anchor.proxies, leaf.labels)
            nearest = repulsion.parts["nearest"]
        (weights[0] * one + weights[1] * other).backward()
        assert leaf.vectors.grad is not None
        assert anchor.proxies.grad is not None
        found.append([one.detach(), other.detach(), nearest, leaf.vectors.grad, anchor.proxies.grad])
    for ours, plain in zip(*found, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("side", [0, 1])
def test_each_value_of_the_walk_has_a_gradient_of_its_own(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashreg_moml.fused._TILE", {"cpu": 64 * 5})  # 64 proxies at a time
    anchor = ProxyAnchorLoss(num_classes=300, embed_dim=5).double()
    repulsion = ProxyRepulsionLoss(num_classes=300, embed_dim=5).double()
    batch = asking(random_batch(20, 5, 300))
    how = sharpness_of(anchor, repulsion, batch)
    assert how is not None
    one = anchored_and_apart(batch, anchor.proxies, how)[side]
    other = (anchor(batch), repulsion.between(anchor.proxies, batch.labels))[side]
    found, wanted = (torch.autograd.grad(v, (batch.vectors, anchor.proxies), allow_unused=True) for v in (one, other))
    assert torch.allclose(one, other, rtol=1e-12)
    for a, c in zip(found, wanted, strict=True):
        assert (a is None or not a.any()) if c is None else torch.allclose(a, c, rtol=1e-9, atol=1e-13)


def test_losses_of_another_kind_are_not_walked_together() -> None:
    batch = random_batch(4, 6, 5)
    anchor, repulsion = ProxyAnchorLoss(num_classes=5, embed_dim=6).double(), {"num_classes": 5, "embed_dim": 6}
    assert sharpness_of(anchor, ProxyRepulsionLoss(**repulsion), batch) is not None
    for options in ({"form": "hinge"}, {"over": "all"}, {"exempt": 0.9}, {"gamma": 90.0}):
        assert sharpness_of(anchor, ProxyRepulsionLoss(**repulsion, **options), batch) is None
    assert sharpness_of(ProxyAnchorLoss(num_classes=5, embed_dim=6), ProxyRepulsionLoss(**repulsion), batch) is None
    sharp = ProxyAnchorLoss(num_classes=5, embed_dim=6, alpha=128.0).double()
    assert sharpness_of(sharp, ProxyRepulsionLoss(**repulsion), batch) is None


def test_the_walk_is_differentiated_once_or_not_at_all() -> None:
    loss, batch = made(), asking(random_batch(8, 6, 5))
    values = loss._values(batch)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(values["proxy"], loss.proxies, create_graph=True)
    with torch.no_grad():
        assert torch.equal(loss._values(batch)["proxy"], values["proxy"])

"""InfoNCE: golden numbers of the doublet loss, the peer's losses, the loops."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as peer
from slow_losses import at, infonce_among_all, infonce_among_negatives, partners, some_images
from torch import Tensor

from fashreg.losses.infonce import InfoNCELoss
from fashreg.values import Embedded


def doublets(**options: Any) -> InfoNCELoss:
    return InfoNCELoss("pairs", temperature=0.3, negatives="both", **options)


def side(vectors: Tensor, label: int | None = None, first: int = 0) -> Embedded:
    b = len(vectors)
    labels = torch.arange(b) if label is None else torch.full((b,), label)
    return Embedded(vectors, labels, torch.arange(first, first + b))


def loss_of(x: Tensor, z: Tensor, loss: InfoNCELoss | None = None, label: int | None = None) -> float:
    return (loss or doublets())(side(x, label), side(z, label, first=len(x))).item()


@pytest.mark.parametrize(("b", "wanted"), [(2, 1.098612), (4, 1.945910), (8, 2.708050), (16, 3.433987), (32, 4.143135)])
def test_equal_embeddings_give_the_loss_of_chance(b: int, wanted: float) -> None:  # (a)
    ones = torch.ones(b, 4, dtype=torch.float64)
    assert loss_of(ones, ones) == pytest.approx(wanted, abs=1e-6)
    assert loss_of(ones, ones) == pytest.approx(math.log(2 * b - 1), abs=1e-12)


@pytest.mark.parametrize(("b", "wanted"), [(2, 0.068918), (4, 0.193957), (8, 0.405089), (16, 0.727655), (32, 1.166828)])
def test_orthogonal_pairs(b: int, wanted: float) -> None:  # (b)
    eye = torch.eye(b, dtype=torch.float64)
    assert loss_of(eye, eye) == pytest.approx(wanted, abs=1e-6)


def test_pairs_on_a_simplex_give_the_least_loss() -> None:  # (c)
    simplex = torch.eye(16, dtype=torch.float64) - 1 / 16
    assert loss_of(simplex, simplex) == pytest.approx(0.618943, abs=1e-6)


def test_one_pair_alone_gives_zero() -> None:  # (d)
    for loss in (doublets(), InfoNCELoss("pairs")):
        assert loss_of(at(0), at(70), loss) == pytest.approx(0, abs=1e-12)


def test_three_pairs_at_right_angles() -> None:  # (e)
    e1, e2 = math.exp(-1 / 0.3), math.exp(-2 / 0.3)
    found = loss_of(at(0, 90, 180), at(0, 90, 180))
    assert found == pytest.approx(0.0919905, abs=1e-7)
    assert found == pytest.approx((2 * math.log(1 + 2 * e1 + 2 * e2) + math.log(1 + 4 * e1)) / 3, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10_000), st.sampled_from(["other", "both"]))
def test_sides_order_length_and_rotation_do_not_matter(b: int, seed: int, negatives: Any) -> None:  # (f)
    generator = torch.Generator().manual_seed(seed)
    x, z = (torch.randn(b, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator)).Q
    order = torch.randperm(b, generator=generator)
    loss = InfoNCELoss("pairs", 0.3, negatives=negatives)
    wanted = loss_of(x, z, loss)
    for one, other in ((z, x), (x[order], z[order]), (3 * x, 0.1 * z), (x @ turn, z @ turn)):
        assert loss_of(one, other, loss) == pytest.approx(wanted, abs=1e-10)


def test_pairs_of_one_value_are_no_negatives_when_masked() -> None:  # (g)
    x, z = some_images(6).vectors, some_images(6, 1).vectors
    for negatives in ("other", "both"):
        masked = InfoNCELoss("pairs", 0.3, negatives=negatives, mask_same_value=True)  # type: ignore[arg-type]
        assert loss_of(x, z, masked, label=4) == pytest.approx(0, abs=1e-12)
        assert loss_of(x, z, masked) == pytest.approx(
            loss_of(x, z, InfoNCELoss("pairs", 0.3, negatives=negatives)),
            abs=1e-12,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("negatives", ["other", "both"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_partners_equal_the_loop(negatives: Any, symmetric: bool) -> None:
    x, z = some_images(6).vectors, some_images(6, 1).vectors
    wanted = partners(x, z, temperature=0.2, both_sides=negatives == "both", symmetric=symmetric)
    loss = InfoNCELoss("pairs", 0.2, symmetric=symmetric, negatives=negatives)
    assert loss_of(x, z, loss) == pytest.approx(wanted, abs=1e-12)
    assert float(loss.parts["positive"] + loss.parts["candidates"]) == pytest.approx(wanted, abs=1e-12)
    halves = Embedded(torch.cat([x, z]), torch.zeros(12, dtype=torch.long), torch.arange(12))
    assert float(loss(halves)) == pytest.approx(wanted, abs=1e-12)
    assert float(loss(x, ref_emb=z)) == pytest.approx(wanted, abs=1e-12)  # labels are not needed


def test_two_views_of_one_image_are_partners_and_its_other_copies_no_negatives() -> None:
    x, z = some_images(4).vectors, some_images(4, 1).vectors
    for negatives in ("other", "both"):
        loss = InfoNCELoss("pairs", 0.3, negatives=negatives)  # type: ignore[arg-type]
        views = float(loss(side(x), side(z)))  # ids 0..3 on both sides
        assert views == pytest.approx(loss_of(x, z, loss), abs=1e-12)
        doubled, again = torch.cat([x, x[:1]]), torch.cat([z, z[:1]])  # image 0 was drawn twice
        ids = torch.tensor([0, 1, 2, 3, 0])
        twice = float(loss(replace(side(doubled), ids=ids), replace(side(again), ids=ids)))
        first = partners(x, z, temperature=0.3, both_sides=negatives == "both", symmetric=True)
        assert 4 * first < 5 * twice < 5 * loss_of(doubled, again, loss)


def test_both_sides_get_a_gradient() -> None:
    for negatives in ("other", "both"):
        x, z = (some_images(5, seed).vectors.requires_grad_() for seed in (0, 1))
        leaves = (x, z)
        loss = InfoNCELoss("pairs", 0.3, negatives=negatives)  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda a, b, f=loss: f(side(a), side(b, first=9)), leaves)


def test_supervised_forms_equal_pytorch_metric_learning() -> None:
    forms = [
        (InfoNCELoss(temperature=0.2), peer.SupConLoss(0.2)),
        (InfoNCELoss(temperature=0.2, denominator="negatives"), peer.NTXentLoss(0.2)),
    ]
    for ours, theirs in forms:
        for seed in range(3):
            batch, others = some_images(12, seed, classes=4), some_images(20, seed + 9, classes=4, first=100)
            one, two = (batch.vectors.clone().mul_(3).requires_grad_() for _ in range(2))
            for extra in ({}, {"ref_emb": others.vectors, "ref_labels": others.labels}):
                mine, its = ours(one, batch.labels, **extra), theirs(two, batch.labels, **extra)
                assert mine.item() == pytest.approx(its.item(), abs=1e-7)
                mine.backward()
                its.backward()
            assert torch.allclose(one.grad, two.grad, atol=1e-7)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("said", [False, True])
def test_supervised_forms_equal_the_loops(seed: int, said: bool) -> None:
    batch, others = some_images(7, seed, repeats=True), some_images(9, seed + 50, repeats=True)
    for references in (None, others):
        n = 7 if references is None else 9
        generator = torch.Generator().manual_seed(seed)
        relevance = torch.randint(-1, 2, (7, n), generator=generator) if said else None
        for denominator, slow in (("all", infonce_among_all), ("negatives", infonce_among_negatives)):
            loss = InfoNCELoss(temperature=0.3, denominator=denominator)  # type: ignore[arg-type]
            wanted = slow(batch, references, relevance, temperature=0.3)
            assert float(loss(batch, references, relevance)) == pytest.approx(wanted, abs=1e-12)
            assert float(loss.parts["positive"] + loss.parts["candidates"]) == pytest.approx(wanted, abs=1e-12)


def test_a_learnt_temperature_starts_as_given_moves_and_is_held_above_a_hundredth() -> None:
    loss, batch = InfoNCELoss(temperature=0.2, learnable=True), some_images(8)
    assert loss(batch).item() == pytest.approx(InfoNCELoss(temperature=0.2)(batch).item(), rel=1e-6)
    loss(batch).backward()
    assert loss.log_scale.grad is not None
    assert bool(loss.log_scale.grad)
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    loss(batch)
    assert float(loss.parts["temperature"]) == pytest.approx(0.01, rel=1e-5)
    fixed, pairs_of = InfoNCELoss("pairs", 0.2), InfoNCELoss("pairs", 0.2, learnable=True)
    x, z = some_images(5).vectors, some_images(5, 1).vectors
    assert loss_of(x, z, pairs_of) == pytest.approx(loss_of(x, z, fixed), rel=1e-6)


def test_settings_that_do_not_apply_are_refused() -> None:
    for options in ({"symmetric": False}, {"negatives": "both"}, {"mask_same_value": True}):
        with pytest.raises(ValueError, match=r'belong to mode="pairs"'):
            InfoNCELoss(**options)
    with pytest.raises(ValueError, match='mode="supervised"'):
        InfoNCELoss("pairs", denominator="negatives")
    with pytest.raises(ValueError, match="temperature"):
        InfoNCELoss(temperature=0)
    with pytest.raises(ValueError, match="mode"):
        InfoNCELoss("pair")  # type: ignore[arg-type]
    loss = InfoNCELoss("pairs")
    with pytest.raises(ValueError, match=r"\(3\).*got 2"):
        loss(some_images(3), some_images(2))
    with pytest.raises(ValueError, match="even; got 3"):
        loss(some_images(3))
    with pytest.raises(ValueError, match="by place"):
        loss(some_images(3), some_images(3), torch.zeros(3, 3))

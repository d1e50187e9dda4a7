"""The triplet loss: by hand, beside the peer's miners, and the loop over triplets."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as peer
from slow_losses import some_images, toy, triplet

from fashreg.losses import triplet as room
from fashreg.losses.triplet import TripletLoss


def test_the_toy_by_hand() -> None:
    # violations s_n - s_p + .1 by anchor: 1 (p .9397): n .6428, -.3420 -> none. 2 (p .9397): n .8660 -> .026332783.
    # 3 (p .5): n .6428 -> .242787610, n .8660 -> .466025404. 4 (p .5): n -.3420, 0 -> none.
    loss = TripletLoss(0.1)
    assert float(loss(toy())) == pytest.approx((0.026332783 + 0.242787610 + 0.466025404) / 3, abs=1e-9)
    assert float(loss.parts["counting"]) == 3
    assert float(TripletLoss(0.1, "semi-hard")(toy())) == pytest.approx(
        0.026332783, abs=1e-9
    )  # the negative is farther
    assert float(TripletLoss(0.1, "hard")(toy())) == pytest.approx((0.026332783 + 0.466025404) / 2, abs=1e-9)


def test_it_equals_pytorch_metric_learning() -> None:
    cosine = distances.CosineSimilarity()
    forms = [
        (TripletLoss(0.2), peer.TripletMarginLoss(0.2, distance=cosine), None),
        (TripletLoss(0.2, soft=True), peer.TripletMarginLoss(0.2, smooth_loss=True, distance=cosine), None),
        (
            TripletLoss(0.2, "semi-hard"),
            peer.TripletMarginLoss(0.2, distance=cosine),
            miners.TripletMarginMiner(0.2, "semihard", distance=cosine),
        ),
        (
            TripletLoss(0.2, "hard"),
            peer.TripletMarginLoss(0.2, distance=cosine),
            miners.BatchHardMiner(distance=cosine),
        ),
    ]
    for ours, theirs, miner in forms:
        for seed in range(3):
            batch, others = some_images(14, seed, classes=4), some_images(20, seed + 9, classes=4, first=100)
            one, two = (batch.vectors.clone().mul_(3).requires_grad_() for _ in range(2))
            for extra in ({}, {"ref_emb": others.vectors, "ref_labels": others.labels}):
                mined = miner(two, batch.labels, *extra.values()) if miner is not None else None
                mine, its = ours(one, batch.labels, **extra), theirs(two, batch.labels, mined, **extra)
                assert mine.item() == pytest.approx(its.item(), abs=1e-12)
                mine.backward()
                its.backward()
            assert torch.allclose(one.grad, two.grad, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mining", ["all", "semi-hard", "hard"])
@pytest.mark.parametrize("soft", [False, True])
def test_it_equals_the_loop_over_triplets(seed: int, mining: str, soft: bool) -> None:
    batch, others = some_images(8, seed, repeats=True), some_images(11, seed + 50, repeats=True)
    for references in (None, others):
        n = 8 if references is None else 11
        chosen = torch.randint(-1, 2, (8, n), generator=torch.Generator().manual_seed(seed))
        for relevance in (None, chosen):
            wanted = triplet(batch, references, relevance, margin=0.2, mining=mining, soft=soft)
            loss = TripletLoss(0.2, mining, soft)  # type: ignore[arg-type]
            assert float(loss(batch, references, relevance)) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("mining", ["all", "semi-hard"])
def test_many_positives_are_sorted_to_the_same_result(mining: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = some_images(60, classes=2)
    batch.vectors[:20] = batch.vectors[20:40]  # ties
    found = []
    for few in (1000, 0):
        monkeypatch.setattr(room, "_FEW", few)
        rows = batch.vectors.clone().requires_grad_()
        loss = TripletLoss(0.2, mining)  # type: ignore[arg-type]
        value = loss(rows, batch.labels)
        value.backward()
        found.append((value.item(), float(loss.parts["counting"]), rows.grad))
    (value, count, gradient), (sorted_value, sorted_count, sorted_gradient) = found
    assert sorted_value == pytest.approx(value, abs=1e-12)
    assert sorted_count == count
    assert torch.allclose(sorted_gradient, gradient, atol=1e-12)  # type: ignore[arg-type]


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        TripletLoss(margin=-0.1)
    with pytest.raises(ValueError, match="semihard"):
        TripletLoss(mining="semihard")  # type: ignore[arg-type]

"""The multi-similarity loss: golden numbers, the peer's loss and miner, the loop over pairs."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning import losses as peer
from pytorch_metric_learning import miners
from slow_losses import multi_similarity_by_anchor, pairs, some_images, toy

from fashreg.functional.pairs import pair_masks
from fashreg.losses.multi_similarity import MultiSimilarityLoss, _mine


def test_the_toy_gives_the_numbers_of_the_specification() -> None:  # M2, G1
    wanted = [0.316381655, 0.539603590, 0.712599278, 0.346573590]
    assert multi_similarity_by_anchor(toy()) == pytest.approx(wanted, abs=1e-9)
    assert float(MultiSimilarityLoss()(toy())) == pytest.approx(0.478789528, abs=1e-9)
    assert float(MultiSimilarityLoss(beta=40)(toy())) == pytest.approx(0.478806965, abs=1e-9)


def test_mining_the_toy_leaves_anchors_one_and_four_empty() -> None:  # M2, G2
    s = toy().vectors @ toy().vectors.T
    positive, negative = pair_masks(toy(), dtype=torch.float64)
    _mine(s, positive, negative, 0.1)
    assert positive.nonzero().tolist() == [[1, 0], [2, 3]]
    assert negative.nonzero().tolist() == [[1, 2], [2, 0], [2, 1]]
    assert float(MultiSimilarityLoss(epsilon=0.1)(toy())) == pytest.approx(0.313050717, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_mining_selects_what_an_independent_miner_selects(seed: int) -> None:  # G2
    batch, others = some_images(15, seed, classes=4), some_images(20, seed + 9, classes=4, first=100)
    miner = miners.MultiSimilarityMiner(epsilon=0.1)
    for references in (None, others):
        rows = batch if references is None else references
        s = batch.vectors @ rows.vectors.T
        positive, negative = pair_masks(batch, references, dtype=torch.float64)
        _mine(s, positive, negative, 0.1)
        extra = () if references is None else (references.vectors, references.labels)
        a1, p, a2, n = miner(batch.vectors, batch.labels, *extra)
        assert sorted(zip(a1.tolist(), p.tolist(), strict=True)) == [
            tuple(pair) for pair in positive.nonzero().tolist()
        ]
        assert sorted(zip(a2.tolist(), n.tolist(), strict=True)) == [
            tuple(pair) for pair in negative.nonzero().tolist()
        ]


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_it_equals_pytorch_metric_learning(epsilon: float | None) -> None:
    theirs, miner = peer.MultiSimilarityLoss(2, 50, 0.5), miners.MultiSimilarityMiner(epsilon or 0)
    ours = MultiSimilarityLoss(epsilon=epsilon)
    for seed in range(3):
        batch, others = some_images(12, seed), some_images(20, seed + 9, first=100)
        one, two = (batch.vectors.clone().mul_(3).requires_grad_() for _ in range(2))
        for extra in ({}, {"ref_emb": others.vectors, "ref_labels": others.labels}):
            mined = miner(two, batch.labels, *extra.values()) if epsilon is not None else None
            mine, its = ours(one, batch.labels, **extra), theirs(two, batch.labels, mined, **extra)
            assert mine.item() == pytest.approx(its.item(), abs=1e-12)
            mine.backward()
            its.backward()
        assert torch.allclose(one.grad, two.grad, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("epsilon", [None, 0.05])
@pytest.mark.parametrize("said", [False, True])
def test_it_equals_the_loop_over_pairs(seed: int, epsilon: float | None, said: bool) -> None:
    batch, others = some_images(7, seed, repeats=True), some_images(9, seed + 50, repeats=True)
    for references in (None, others):
        n = 7 if references is None else 9
        generator = torch.Generator().manual_seed(seed)
        relevance = torch.randint(-1, 2, (7, n), generator=generator) if said else None
        each = multi_similarity_by_anchor(batch, references, relevance, epsilon=epsilon)
        loss = MultiSimilarityLoss(epsilon=epsilon)
        assert float(loss(batch, references, relevance)) == pytest.approx(sum(each) / 7, abs=1e-12)
        assert float(loss.parts["positive"] + loss.parts["negative"]) == pytest.approx(sum(each) / 7, abs=1e-12)
        whole = [v if p and q else 0 for v, (p, q) in zip(each, pairs(batch, references, relevance), strict=True)]
        strict = MultiSimilarityLoss(epsilon=epsilon, skip_empty=True)
        assert float(strict(batch, references, relevance)) == pytest.approx(sum(whole) / 7, abs=1e-12)


@pytest.mark.parametrize("sharpness", [1.0, 60.0, 3000.0])
def test_any_sharpness_and_any_length_of_rows_stays_finite(sharpness: float) -> None:
    loss = MultiSimilarityLoss(alpha=sharpness, beta=sharpness, normalize=False)
    rows = (10 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    value = loss(rows, torch.arange(8) % 3)
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(rows.grad).all())  # type: ignore[arg-type]


def test_impossible_options_are_refused() -> None:
    for options in ({"alpha": 0}, {"beta": -1}, {"epsilon": -0.1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            MultiSimilarityLoss(**options)

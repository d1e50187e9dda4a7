"""The contrastive loss: golden numbers of the cross-batch memory's specification, and the peer's loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning import distances
from pytorch_metric_learning import losses as peer
from slow_losses import contrastive_by_anchor, contrastive_over_pairs, some_images, toy

from fashreg.functional.pairs import exclude_similar
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.values import Embedded


def test_the_toy_gives_the_numbers_of_the_specification() -> None:  # M1
    # cosines: s12 .9397, s13 .6428, s14 -.3420, s23 .8660, s24 0, s34 .5; negatives count above .5
    wanted = [0.703094989, 0.926332783, 2.008813013, 0.5]
    assert contrastive_by_anchor(toy()) == pytest.approx(wanted, abs=1e-9)
    assert float(ContrastiveLoss()(toy())) == pytest.approx(1.034560196, abs=1e-9)


def test_a_memory_that_is_the_batch_gives_the_value_and_half_the_gradient() -> None:  # M3
    loss, found = ContrastiveLoss(), []
    for references in (None, toy()):
        batch = replace(toy(), vectors=toy().vectors.requires_grad_())
        value = loss(batch, references)
        value.backward()
        found.append((float(value.detach()), batch.vectors.grad))
    (plain, gradient), (memory, half) = found
    assert memory == pytest.approx(plain, abs=1e-12)
    assert gradient is not None
    assert half is not None
    assert gradient[0].tolist() == pytest.approx([-0.148452506, 0.212012150], abs=1e-9)
    assert half[0].tolist() == pytest.approx([-0.074226253, 0.106006075], abs=1e-9)
    assert torch.allclose(2 * half, gradient, atol=1e-12)


def test_references_that_come_twice_add_exactly_their_pairs() -> None:  # M8
    batch, others, again = some_images(6), some_images(7, 1, first=50), some_images(7, 1, first=90)
    joined = Embedded(*(torch.cat([getattr(others, n), getattr(again, n)]) for n in ("vectors", "labels", "ids")))
    loss = ContrastiveLoss(normalize=False)
    assert float(loss(batch, joined)) == pytest.approx(2 * float(loss(batch, others)), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ids_keep_a_half_precision_row_from_meeting_itself_and_a_narrow_similarity_test_does_not(
    dtype: torch.dtype,
) -> None:  # M9
    rows = torch.nn.functional.normalize(torch.randn(64, 32, generator=torch.Generator().manual_seed(0))).to(dtype)
    batch = Embedded(rows, torch.arange(64), torch.arange(64), unit=True)  # one image a class: no positive at all
    stored, stranger = replace(batch), replace(batch, ids=batch.ids + 100)
    loss = ContrastiveLoss(neg_margin=0.99)
    assert float(loss(batch, stored)) == 0
    assert float(loss(batch, stranger, exclude_similar(batch, stranger, tau=1e-5))) > 0
    assert float(loss(batch, stranger, exclude_similar(batch, stranger))) == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("said", [False, True])
def test_it_equals_the_loop_over_pairs(seed: int, said: bool) -> None:
    batch, others = some_images(7, seed, repeats=True), some_images(9, seed + 50, repeats=True)
    for references in (None, others):
        n = 7 if references is None else 9
        generator = torch.Generator().manual_seed(seed)
        relevance = torch.randint(-1, 2, (7, n), generator=generator) if said else None
        wanted = contrastive_by_anchor(batch, references, relevance)
        assert float(ContrastiveLoss()(batch, references, relevance)) == pytest.approx(sum(wanted) / 7, abs=1e-12)
        both = {"pos_margin": 0.8, "neg_margin": 0.1}
        loss = ContrastiveLoss(form="hinge", normaliser="pairs", **both)
        assert float(loss(batch, references, relevance)) == pytest.approx(
            contrastive_over_pairs(batch, references, relevance, **both), abs=1e-12
        )


@pytest.mark.parametrize(("pos_margin", "neg_margin"), [(1.0, 0.0), (0.9, 0.3)])
def test_hinge_over_pairs_equals_pytorch_metric_learning(pos_margin: float, neg_margin: float) -> None:
    theirs = peer.ContrastiveLoss(pos_margin, neg_margin, distance=distances.CosineSimilarity())
    ours = ContrastiveLoss(pos_margin, neg_margin, "hinge", "pairs")
    for seed in range(3):
        batch, others = some_images(12, seed), some_images(20, seed + 9, first=100)
        one, two = (batch.vectors.clone().mul_(3).requires_grad_() for _ in range(2))
        for extra in ({}, {"ref_emb": others.vectors, "ref_labels": others.labels}):
            mine, its = ours(one, batch.labels, **extra), theirs(two, batch.labels, **extra)
            assert mine.item() == pytest.approx(its.item(), abs=1e-12)
            mine.backward()
            its.backward()
        assert torch.allclose(one.grad, two.grad, atol=1e-12)  # type: ignore[arg-type]


def test_the_parts_add_up() -> None:
    for loss in (ContrastiveLoss(), ContrastiveLoss(form="hinge", normaliser="pairs")):
        assert float(loss(toy())) == pytest.approx(float(loss.parts["positive"] + loss.parts["negative"]), abs=1e-12)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"form.*hing"):
        ContrastiveLoss(form="hing")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normaliser"):
        ContrastiveLoss(normaliser="mean")  # type: ignore[arg-type]

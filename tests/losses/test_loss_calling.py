"""The two ways to call a loss."""

from __future__ import annotations

import pytest
import torch
from slow_losses import some_images

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.values import Embedded

LOSS = MultiSimilarityLoss()


def test_plain_tensors_are_a_batch_of_different_images() -> None:
    batch = some_images(6)
    assert float(LOSS(batch.vectors, batch.labels)) == pytest.approx(float(LOSS(batch)), abs=1e-12)
    assert float(LOSS(batch.vectors, labels=batch.labels.int())) == pytest.approx(float(LOSS(batch)), abs=1e-12)


def test_references_in_plain_tensors_are_other_images() -> None:
    batch, others = some_images(6), some_images(8, 1, first=100)
    wanted = float(LOSS(batch, others))
    found = LOSS(batch.vectors, batch.labels, ref_emb=others.vectors, ref_labels=others.labels)
    assert float(found) == pytest.approx(wanted, abs=1e-12)
    by_place = LOSS(batch.vectors, batch.labels, None, others.vectors, others.labels)
    assert float(by_place) == pytest.approx(wanted, abs=1e-12)


def test_the_batch_given_as_its_own_references_means_against_itself() -> None:
    batch = some_images(6)
    found = LOSS(batch.vectors, batch.labels, ref_emb=batch.vectors, ref_labels=batch.labels)
    assert float(found) == pytest.approx(float(LOSS(batch)), abs=1e-12)


def test_relevance_stands_for_labels() -> None:
    batch, others = some_images(6), some_images(8, 1, first=100)
    relevance = batch.labels[:, None] == others.labels[None]
    found = LOSS(batch.vectors, relevance=relevance, ref_emb=others.vectors)
    assert float(found) == pytest.approx(float(LOSS(batch, others)), abs=1e-12)


def test_mined_tuples_are_refused_with_the_way_out() -> None:
    batch = some_images(6)
    tuple_ = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    for call in (
        lambda: LOSS(batch.vectors, batch.labels, tuple_),
        lambda: LOSS(batch.vectors, batch.labels, indices_tuple=tuple_),
    ):
        with pytest.raises(ValueError, match="relevance="):
            call()


def test_what_is_missing_or_mixed_up_is_said() -> None:
    batch, rows = some_images(6), torch.randn(3, 5)
    with pytest.raises(ValueError, match="labels are needed"):
        LOSS(batch.vectors)
    with pytest.raises(ValueError, match="ref_emb without ref_labels"):
        LOSS(batch.vectors, batch.labels, ref_emb=rows)
    with pytest.raises(ValueError, match="ref_labels without ref_emb"):
        LOSS(batch.vectors, batch.labels, ref_labels=torch.arange(3))
    with pytest.raises(ValueError, match="second Embedded"):
        LOSS(batch, ref_emb=rows, ref_labels=torch.arange(3))
    with pytest.raises(ValueError, match="must be an Embedded"):
        LOSS(batch, rows)
    with pytest.raises(ValueError, match=r"relevance must have.*\(6, 6\).*\(6, 3\)"):
        LOSS(batch, None, torch.zeros(6, 3))


def test_float_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="integers"):
        LOSS(torch.randn(3, 5), torch.tensor([0.0, 1.0, 1.0]))


def test_rows_that_are_known_to_be_unit_are_taken_as_they_are() -> None:
    long, labels, ids = 2 * some_images(6).vectors, some_images(6).labels, torch.arange(6)
    loss, bare = ContrastiveLoss(), ContrastiveLoss(normalize=False)
    trusted, unknown = Embedded(long, labels, ids, unit=True), Embedded(long, labels, ids)
    assert float(loss(trusted)) == pytest.approx(float(bare(unknown)), abs=1e-12)
    assert float(loss(unknown)) == pytest.approx(float(loss(some_images(6))), abs=1e-12)
    assert float(loss(unknown)) != pytest.approx(float(loss(trusted)), abs=1e-3)

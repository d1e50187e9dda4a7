"""The part of a loss's contract that says which pairs count: labels, ids, references, relevance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fashreg.testing.loss_cases import LARGE, MANY, alike, finite, has_classes, images, measured, one_hot, take
from fashreg.values import AffineEmbedded, Embedded


class PairRules:
    """Tests of LossContract; the fixture `loss` is its."""

    def test_label_zero_is_a_label_like_any_other(self, loss: Any) -> None:
        batch = images(10)
        merged = replace(batch, labels=torch.where(batch.labels == 0, 4, batch.labels))
        assert not alike(measured(loss, merged), measured(loss, batch)), "label 0 means nothing here"
        if not has_classes(loss):
            assert alike(measured(loss, replace(batch, labels=batch.labels + 1)), measured(loss, batch))
            assert alike(measured(loss, replace(batch, labels=batch.labels - 1)), measured(loss, batch))

    def test_labels_above_two_to_the_24_stay_apart(self, loss: Any) -> None:
        batch, wanted = images(10), measured(loss, images(10))
        large = replace(batch, labels=LARGE[batch.labels])
        if has_classes(loss):
            with pytest.raises(ValueError, match="num_classes"):
                measured(loss, large)
            return
        assert alike(measured(loss, large), wanted)
        if loss.accepts_references:
            others = images(15, 1, 100)
            found = measured(loss, large, replace(others, labels=LARGE[others.labels]))
            assert alike(found, measured(loss, batch, others))

    def test_a_label_that_is_no_class_is_refused(self, loss: Any) -> None:
        if has_classes(loss):
            for label in (5, -1):
                with pytest.raises(ValueError, match=str(label)):
                    measured(loss, replace(images(4), labels=torch.tensor([0, 1, 2, label])))

    def test_equal_ids_are_never_a_pair(self, loss: Any) -> None:
        if not loss.accepts_references:
            return
        anchor, others = images(1), images(12, 1, first=0)  # the first reference is the anchor's own image
        for label in (0, 1):
            others.labels[0] = label
            wanted = measured(loss, anchor, take(others, torch.arange(1, 12)))
            assert alike(measured(loss, anchor, others), wanted), f"it was paired with itself (label {label})"

    def test_negative_ids_equal_nothing(self, loss: Any) -> None:
        batch = images(10)
        nobody = replace(batch, ids=torch.full((10,), -1))
        assert alike(measured(loss, nobody), measured(loss, batch))
        if loss.accepts_references:
            others = images(12, 1, 100)
            strangers = replace(others, ids=torch.full((12,), -1))
            assert alike(measured(loss, nobody, strangers), measured(loss, batch, others))

    def test_references_are_compared_or_refused(self, loss: Any) -> None:
        batch, references = images(10), images(12, 1, 100)
        if not loss.accepts_references:
            with pytest.raises(ValueError, match="reference"):
                measured(loss, batch, references)
            return
        value, gradient = measured(loss, batch, references)
        assert finite((value, gradient))
        assert bool(gradient.any())
        assert not alike((value, gradient), measured(loss, batch, images(12, 5, 100))), "references mean nothing here"
        with pytest.raises(ValueError, match=r"(?s)(?=.*\b8\b)(?=.*\b6\b)"):
            measured(loss, batch, replace(references, vectors=references.vectors[:, :6]))

    def test_no_gradient_is_left_in_references(self, loss: Any) -> None:
        if loss.accepts_references:
            references = images(12, 1, 100)
            measured(loss, images(10), references)
            assert not references.vectors.requires_grad
            assert references.vectors.grad is None

    @pytest.mark.parametrize("classes", [5, 5000])
    def test_many_references_are_scored_as_few_are(self, loss: Any, classes: int) -> None:
        if loss.accepts_references:  # references that ask for a gradient cannot take a short cut
            batch, references = images(10), images(MANY, 1, first=5, classes=classes)
            asking = replace(references, vectors=references.vectors.clone().requires_grad_())
            assert alike(measured(loss, batch, references), measured(loss, batch, asking))

    @pytest.mark.parametrize("size", [12, MANY])
    def test_references_may_be_an_affine_image_of_stored_rows(self, loss: Any, size: int) -> None:
        if not loss.accepts_references:
            return
        batch, stored = images(10), images(size, 1, first=5)
        scale, shift = torch.linspace(0.6, 1.4, 8), torch.linspace(0.5, -0.2, 8)
        for unit in (True, False):
            moved = AffineEmbedded(stored.vectors, scale, shift, stored.labels, stored.ids, unit=unit)
            written_out = Embedded(moved.vectors, stored.labels, stored.ids, unit=unit)
            assert alike(measured(loss, batch, moved), measured(loss, batch, written_out))

    @pytest.mark.parametrize("size", [12, MANY])
    def test_the_order_of_references_does_not_matter(self, loss: Any, size: int) -> None:
        if loss.accepts_references:
            batch, references = images(10), images(size, 1, first=5)
            order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
            assert alike(measured(loss, batch, take(references, order)), measured(loss, batch, references))

    def test_relevance_overrides_labels(self, loss: Any) -> None:
        batch = images(10)
        relevance, scrambled = one_hot(batch, loss), replace(batch, labels=batch.labels.flip(0) % 3)
        try:
            found = measured(loss, scrambled, None, relevance)
        except ValueError:
            assert has_classes(loss), "only a loss over classes may refuse a relevance matrix"
            return
        assert alike(found, measured(loss, batch))
        assert alike(measured(loss, scrambled, None, 3 * relevance.long()), found), "any number above 0 is a positive"

    def test_relevance_may_name_positives_that_no_labels_could(self, loss: Any) -> None:
        if has_classes(loss):
            return
        chain = torch.zeros(10, 10)
        chain[torch.arange(9), torch.arange(1, 10)] = chain[torch.arange(1, 10), torch.arange(9)] = 1
        found = measured(loss, images(10), None, chain)
        assert finite(found)
        assert bool(found[1].any())
        assert not alike(found, measured(loss, images(10)))

    def test_a_pair_of_negative_relevance_is_no_pair(self, loss: Any) -> None:
        if not loss.accepts_references:
            return
        batch, references = images(4), images(12, 1, 100)
        relevance = (batch.labels[:, None] == references.labels[None]).float()
        kept = torch.tensor([0, 2, 3, 5, 6, 7, 8, 11])
        relevance[:, [1, 4, 9, 10]] = -1
        assert alike(measured(loss, batch, references, relevance), measured(loss, batch, take(references, kept)))

    def test_a_relevance_matrix_of_another_shape_is_refused(self, loss: Any) -> None:
        with pytest.raises(ValueError, match="relevance"):
            measured(loss, images(10), None, torch.zeros(10, 7))

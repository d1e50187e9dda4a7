"""The contract of a loss: what every one promises, whatever it pulls and pushes.

The rows below all lie in one narrow cone, so that positives are not yet together, negatives not yet apart, and every
margin in common use has something to do. Values are taken in eval mode, where a loss must not change its state.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fashreg.testing.state import shaken
from fashreg.values import Embedded, TrainingBatch

LARGE = torch.tensor([2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**62])  # float32 and float64 each merge two of these
MANY = 15_000  # references: with 10 anchors enough for a loss to leave its plain dense form


def rows(n: int, seed: int = 0) -> Tensor:
    """(n, 8) float32 rows of various lengths, all within a cone."""
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return (1 + 0.7 * noise) * (1 + torch.arange(n) % 3)[:, None]


def images(n: int, seed: int = 0, first: int = 0, classes: int = 5) -> Embedded:
    """n images with ids first, first + 1, ... and labels 0, 1, ... in turn."""
    return Embedded(rows(n, seed), torch.arange(n) % classes, torch.arange(first, first + n))


def take(found: Embedded, order: Tensor) -> Embedded:
    """The rows at these places."""
    return replace(found, vectors=found.vectors[order], labels=found.labels[order], ids=found.ids[order])


def measured(
    loss: Any, batch: Embedded, references: Embedded | None = None, relevance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch by a copy in eval mode, and its gradient with respect to the batch's vectors."""
    leaf = batch.vectors.detach().clone().requires_grad_()
    value = copy.deepcopy(loss).eval()(replace(batch, vectors=leaf), references, relevance)
    value.backward()
    assert leaf.grad is not None, "no gradient reaches the batch"
    return value.detach(), leaf.grad


def alike(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], tolerance: float = 1e-4) -> bool:
    """True when two (value, gradient) pairs agree."""
    return all(
        torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance) for a, b in zip(one, other, strict=True)
    )


def finite(found: tuple[Tensor, Tensor]) -> bool:
    """True when value and gradient are numbers."""
    return all(bool(torch.isfinite(x).all()) for x in found)


def has_classes(loss: Any) -> bool:
    """True for a loss that owns something for each of num_classes classes, so that labels are indices."""
    return hasattr(loss, "num_classes")


def one_hot(batch: Embedded, loss: Any) -> Tensor:
    """The labels as a relevance matrix: against classes where the loss owns classes, else against the batch."""
    against = torch.arange(loss.num_classes) if has_classes(loss) else batch.labels
    return (batch.labels[:, None] == against[None]).float()


class LossContract:
    """Override `loss` with a fresh one, built with embed_dim=8 and num_classes=5 where it takes them."""

    @pytest.fixture
    def loss(self) -> Any:
        """A fresh loss: embed_dim 8, num_classes 5."""
        raise NotImplementedError("override the fixture `loss`")

    def test_every_constructor_parameter_is_kept_as_an_attribute(self, loss: Any) -> None:
        for name in inspect.signature(type(loss)).parameters:
            assert hasattr(loss, name), f"self.{name} is missing"

    def test_it_says_what_it_takes_and_needs(self, loss: Any) -> None:
        assert isinstance(loss, nn.Module)
        assert isinstance(loss.accepts_references, bool)
        assert loss.lr_factor > 0
        assert loss.needs <= {field.name for field in fields(TrainingBatch)}

    def test_a_batch_gives_a_finite_scalar_and_every_class_a_gradient(self, loss: Any) -> None:
        batch = images(10)
        value, gradient = measured(loss, batch)
        assert value.shape == ()
        assert finite((value, gradient))
        for label in range(5):
            assert bool(gradient[batch.labels == label].any()), f"no row of label {label} is moved"

    @pytest.mark.parametrize("against", ["the batch", "references"])
    def test_the_gradient_is_the_derivative(self, loss: Any, against: str) -> None:
        references = images(12, 1, 100) if against == "references" else None
        if references is not None and not loss.accepts_references:
            return
        loss = copy.deepcopy(loss).double()
        batch = images(10)
        batch = replace(batch, vectors=batch.vectors.double())
        if references is not None:
            references = replace(references, vectors=references.vectors.double())
        step = 1e-6 * torch.randn(10, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        up, down = (replace(batch, vectors=batch.vectors + side * step) for side in (1, -1))
        slope = (measured(loss, up, references)[0] - measured(loss, down, references)[0]) / 2
        wanted = (measured(loss, batch, references)[1] * step).sum()
        assert torch.allclose(slope, wanted, rtol=1e-4, atol=1e-12)

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

    @pytest.mark.parametrize("case", ["one row", "one image many times", "nothing remembered"])
    def test_without_any_pair_the_loss_is_zero_with_zero_gradient(self, loss: Any, case: str) -> None:
        batch, references = images(1 if case == "one row" else 6), None
        if case == "one image many times":
            batch = replace(batch, ids=torch.full((6,), 3))
        if case == "nothing remembered":
            if not loss.accepts_references:
                return
            references = images(0)
        found = measured(loss, batch, references)
        assert finite(found)
        if not has_classes(loss):
            assert float(found[0]) == 0
            assert not bool(found[1].any())

    @pytest.mark.parametrize("classes", [1, 2, 6])
    def test_batches_without_negatives_or_without_positives_are_fine(self, loss: Any, classes: int) -> None:
        batch = images(6, classes=classes)
        if has_classes(loss):
            batch = replace(batch, labels=batch.labels % 5)
        assert finite(measured(loss, batch))
        if loss.accepts_references:
            assert finite(measured(loss, batch, images(7, 1, 100, classes=1)))

    def test_a_zero_row_and_a_huge_row_do_no_harm(self, loss: Any) -> None:
        batch = images(10)
        batch.vectors[2] = 0
        batch.vectors[3] *= 1e6
        assert finite(measured(loss, batch))

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
    def test_the_order_of_references_does_not_matter(self, loss: Any, size: int) -> None:
        if loss.accepts_references:
            batch, references = images(10), images(size, 1, first=5)
            order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
            assert alike(measured(loss, batch, take(references, order)), measured(loss, batch, references))

    def test_the_order_of_the_batch_does_not_matter(self, loss: Any) -> None:
        batch, order = images(10), torch.tensor([3, 1, 4, 9, 5, 2, 6, 0, 8, 7])
        value, gradient = measured(loss, batch)
        assert alike(measured(loss, take(batch, order)), (value, gradient[order]))

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

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_costs_no_more_than_the_rounding_of_its_inputs(self, loss: Any, dtype: torch.dtype) -> None:
        batch, references = images(10), images(12, 1, 100) if loss.accepts_references else None
        half = replace(batch, vectors=batch.vectors.to(dtype))
        wide = replace(half, vectors=half.vectors.float())
        assert measured(loss, half)[1].dtype == dtype
        assert alike(measured(loss, half), measured(loss, wide), tolerance=4 * torch.finfo(dtype).eps)
        if references is not None:
            stored = replace(references, vectors=references.vectors.to(dtype))
            widened = replace(stored, vectors=stored.vectors.float())
            wanted = measured(loss, wide, widened)
            assert alike(measured(loss, half, stored), wanted, tolerance=4 * torch.finfo(dtype).eps)
            assert alike(measured(loss, wide, stored), wanted)

    def test_autocast_changes_nothing(self, loss: Any) -> None:
        wanted = measured(loss, images(10))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = measured(loss, images(10))
        assert alike(found, wanted, tolerance=1e-6)

    def test_parts_are_detached_numbers_of_the_last_call(self, loss: Any) -> None:
        batch = images(10)
        loss(replace(batch, vectors=batch.vectors.requires_grad_()))
        first = dict(loss.parts)
        assert isinstance(loss.parts, Mapping)
        assert first
        for name, part in first.items():
            assert isinstance(name, str)
            assert part.shape == ()
            assert not part.requires_grad
            assert bool(torch.isfinite(part))
        loss(images(10, seed=4))
        assert any(not torch.equal(loss.parts[name], part) for name, part in first.items())

    def test_equal_input_gives_equal_bits_and_no_global_random_state_moves(self, loss: Any) -> None:
        before = torch.get_rng_state()
        one, other = (measured(loss, images(10)) for _ in range(2))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])

    def test_a_value_depends_on_nothing_that_a_checkpoint_loses(self, loss: Any) -> None:
        fresh = copy.deepcopy(loss)
        shaken(loss)
        loss(replace(images(10, seed=4), vectors=rows(10, 4).requires_grad_())).backward()
        fresh.load_state_dict(loss.state_dict())
        assert alike(measured(fresh, images(10)), measured(loss, images(10)), tolerance=1e-6)

    def test_what_it_learns_is_registered_and_gets_a_gradient(self, loss: Any) -> None:
        hidden = [name for name, value in vars(loss).items() if isinstance(value, Tensor) and value.requires_grad]
        assert not hidden, f"{hidden} will be neither trained nor saved: use nn.Parameter"
        loss(images(10)).backward() if list(loss.parameters()) else None
        for name, parameter in loss.named_parameters():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()), name
            assert bool(torch.isfinite(parameter.grad).all()), name

    def test_it_changes_none_of_its_inputs(self, loss: Any) -> None:
        batch, references = images(10), images(12, 1, 100) if loss.accepts_references else None
        relevance = None if has_classes(loss) else torch.ones(10, 12 if references is not None else 10)
        given = [t for e in (batch, references) if e is not None for t in (e.vectors, e.labels, e.ids)]
        given += [] if relevance is None else [relevance]
        before = [t.clone() for t in given]
        loss(batch, references, relevance)
        loss(batch, references)
        loss(batch)
        assert all(torch.equal(a, b) for a, b in zip(before, given, strict=True))

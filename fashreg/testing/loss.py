"""The contract of a loss: what every one promises, whatever it pulls and pushes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fashreg.testing.loss_cases import alike, finite, has_classes, images, measured, rows, take
from fashreg.testing.loss_pairs import PairRules
from fashreg.testing.state import shaken
from fashreg.values import TrainingBatch


class LossContract(PairRules):
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
        if not getattr(loss, "moves_batch", True):
            assert not bool(gradient.any()), "it says that it does not move the batch"
            return
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

    def test_the_order_of_the_batch_does_not_matter(self, loss: Any) -> None:
        batch, order = images(10), torch.tensor([3, 1, 4, 9, 5, 2, 6, 0, 8, 7])
        value, gradient = measured(loss, batch)
        assert alike(measured(loss, take(batch, order)), (value, gradient[order]))

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
        loss(images(10, seed=4, classes=3))
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

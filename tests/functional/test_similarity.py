"""Unit rows, scores, and values that bring their own gradient."""

from __future__ import annotations

import pytest
import torch

from fashreg.functional.similarity import full_precision, rows_of, scores, unit_rows, widen, with_gradient
from fashreg.values import Embedded


def rows(n: int = 5, d: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_unit_rows_are_those_of_torch() -> None:
    assert torch.allclose(unit_rows(rows()), torch.nn.functional.normalize(rows()), atol=1e-15)
    assert torch.autograd.gradcheck(unit_rows, (rows().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rows_are_widened_and_their_gradient_is_not(dtype: torch.dtype) -> None:
    x = rows(dtype=dtype).requires_grad_()
    y = unit_rows(x)
    assert y.dtype == torch.float32
    assert torch.allclose(y.norm(dim=1), torch.ones(5), atol=1e-6)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_rows_too_long_for_half_precision_sums_are_fine() -> None:
    assert torch.allclose(unit_rows(torch.full((1, 4), 6e4, dtype=torch.float16)), torch.full((1, 4), 0.5))


def test_a_zero_row_stays_zero_with_zero_gradient() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    unit_rows(x).sum().backward()
    assert unit_rows(x).tolist() == [[0.0, 0.0], pytest.approx([0.6, 0.8])]
    assert x.grad is not None
    assert x.grad[0].tolist() == [0.0, 0.0]


def test_rows_flagged_unit_or_asked_for_bare_are_left_alone() -> None:
    labels = torch.arange(5)
    bare, trusted = Embedded(rows(), labels, labels), Embedded(rows(), labels, labels, unit=True)
    assert rows_of(trusted) is trusted.vectors
    assert rows_of(bare, normalize=False) is bare.vectors
    assert torch.equal(rows_of(bare), unit_rows(bare.vectors))
    assert widen(bare.vectors) is bare.vectors


def test_scores_are_inner_products_with_their_derivatives() -> None:
    x, y = rows().requires_grad_(), rows(4, seed=1).requires_grad_()
    assert torch.equal(scores(x, y), x @ y.T)
    assert torch.equal(scores(x), x @ x.T)
    assert torch.autograd.gradcheck(scores, (x,))
    assert torch.autograd.gradcheck(scores, (x, y))
    assert torch.autograd.gradgradcheck(scores, (x, y))
    assert torch.autograd.gradgradcheck(scores, (x,))
    assert scores(x, y.detach().float()).dtype == torch.float64


def test_no_gradient_is_made_for_references_that_want_none() -> None:
    x, y = rows().requires_grad_(), rows(4, seed=1)
    scores(x, y).sum().backward()
    assert y.grad is None


def test_a_value_with_its_gradient_passes_it_on_scaled() -> None:
    x = rows().requires_grad_()
    value = with_gradient(x, torch.tensor(7.0), torch.full_like(x, 2.0))
    assert value.item() == 7
    (3 * value).backward()
    assert x.grad is not None
    assert x.grad.unique().tolist() == [6.0]


@pytest.mark.parametrize("function", [unit_rows, lambda x: with_gradient(x, x.detach().sum(), torch.ones_like(x))])
def test_a_second_derivative_is_refused_and_a_kept_graph_is_not(function: object) -> None:
    x = rows().requires_grad_()
    value = function(x).sum() + x.square().sum()  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    assert bool(torch.isfinite(gradient).all())
    with pytest.raises(RuntimeError, match="differentiated twice"):
        torch.autograd.grad(value + gradient.square().sum(), x)


def test_full_precision_turns_autocast_off_where_it_is_on() -> None:
    x = rows(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x.T).dtype == torch.bfloat16
        with full_precision(x):
            assert (x @ x.T).dtype == torch.float32
        assert (x @ x.T).dtype == torch.bfloat16
    with full_precision(x):
        assert (x @ x.T).dtype == torch.float32

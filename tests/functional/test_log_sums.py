"""Logarithms of sums of exponentials, whole and running."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fashreg.functional.log_sums import VOID, RunningLogSum, fits, log_sum
from fashreg.functional.reference_rows import ScaledRows


def case(b: int, n: int, scale: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(b, n, generator=generator, dtype=torch.float64)
    return x, (torch.rand(b, n, generator=generator) < 0.6).double()


def plain(x: torch.Tensor, mask: torch.Tensor, plus_one: bool) -> torch.Tensor:
    x = x.masked_fill(mask == 0, -torch.inf)
    return torch.logsumexp(torch.cat([x, torch.zeros(len(x), 1)], dim=1) if plus_one else x, dim=1, keepdim=True)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.sampled_from([0.1, 5.0, 900.0]), st.booleans(), st.integers(0, 999))
def test_it_equals_torchs_logsumexp_with_its_derivative(b: int, n: int, scale: float, one: bool, seed: int) -> None:
    x, mask = case(b, n, scale, seed)
    mask[:, 0] = 1
    leaf = x.clone().requires_grad_()
    wanted = plain(leaf, mask, one)
    wanted.sum().backward()
    for bounded in (False, fits(float(x.min()), float(x.max()))):
        for dim in (1, 0):
            y, m = (x.clone(), mask) if dim == 1 else (x.T.clone(), mask.T)
            log, weights = log_sum(y, m, plus_one=one, dim=dim, bounded=bounded)
            log, weights = (log, weights) if dim == 1 else (log.T, weights.T)
            assert torch.allclose(log, wanted.detach(), rtol=1e-12, atol=1e-12)
            assert torch.allclose(weights, leaf.grad, rtol=1e-9, atol=1e-12)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.sampled_from([0.1, 5.0, 900.0]), st.booleans(), st.integers(0, 999), st.integers(1, 5))
def test_blocks_in_turn_give_the_whole(b: int, scale: float, one: bool, seed: int, width: int) -> None:
    x, mask = case(b, 11, scale, seed)
    mask[:, 7] = 1
    rows = torch.randn(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    whole, weights = log_sum(x.clone(), mask, plus_one=one)
    running = RunningLogSum(x.new_zeros(b, 3), plus_one=one, bounded=fits(float(x.min()), float(x.max())))
    for start in range(0, 11, width):
        part = slice(start, start + width)
        running.add(x[:, part].clone(), ScaledRows(rows[part]), mask[:, part])
    assert torch.allclose(running.log(), whole, rtol=1e-9, atol=1e-9)
    assert torch.allclose(running.mean_row(), weights @ rows, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bounded", [True, False])
def test_rows_without_entries_count_for_nothing(bounded: bool) -> None:
    nothing = torch.zeros(2, 3)
    log, weights = log_sum(torch.ones(2, 3), nothing, plus_one=True, bounded=bounded)
    assert log.tolist() == [[0.0], [0.0]]
    assert not weights.any()
    log, weights = log_sum(torch.ones(2, 3), nothing, plus_one=False, bounded=bounded)
    assert bool((log < -80).all())
    assert bool(torch.isfinite(log).all())
    assert not weights.any()
    running = RunningLogSum(torch.zeros(2, 4), plus_one=True, bounded=bounded)
    running.add(torch.full((2, 3), VOID), ScaledRows(torch.ones(3, 4)))
    assert running.log().abs().max() < 1e-30
    assert running.mean_row().abs().max() < 1e-30
    assert log_sum(torch.zeros(2, 0), torch.zeros(2, 0), plus_one=True, bounded=bounded)[0].tolist() == [[0.0], [0.0]]


def test_small_sums_keep_their_digits_beside_the_one() -> None:
    log, _ = log_sum(torch.full((1, 1), -40.0), plus_one=True)
    assert log.item() == pytest.approx(4.248354255291589e-18, rel=1e-5)

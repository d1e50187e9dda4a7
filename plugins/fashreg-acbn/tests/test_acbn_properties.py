"""What holds for any history, batch and option."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from acbn_plain import InPlace, batch_of, plain_xbn, wide_rows, worth
from fashreg_acbn.filtering import MomentFilter
from fashreg_acbn.memory import ACBNMemory
from fashreg_acbn.moments import Moments, batch_moments
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fashreg.values import Embedded

QUICK = settings(max_examples=40, deadline=None)
SEED = st.integers(0, 2**31)
KIND = st.sampled_from(["adaptive", "xbn", "ema"])


def rows_of(seed: int, n: int, width: int = 3, spread: float = 1.0) -> Tensor:
    """Rows with a mean and spread of their own."""
    random = torch.Generator().manual_seed(seed)
    scale = 0.5 + torch.rand(width, generator=random)
    return spread * (torch.randn(n, width, generator=random) * scale + torch.randn(width, generator=random))


def filled(memory: ACBNMemory, seed: int) -> ACBNMemory:
    memory.push(batch_of(rows_of(seed, memory.capacity)))
    return memory


@QUICK
@given(seed=SEED, updates=st.integers(1, 5), size=st.integers(3, 8))
def test_the_last_writer_wins(seed: int, updates: int, size: int) -> None:
    def batch(turn: int) -> Embedded:
        """Spreads within 0.7 and 1.3, so that no factor is held back."""
        rows = rows_of(seed + turn, size)
        rows = (rows - rows.mean(0)) / rows.std(0, correction=0)
        return batch_of(rows * (0.7 + 0.6 * torch.rand(3, generator=torch.Generator().manual_seed(turn))) + turn)

    many, one = (filled(plain_xbn(8, 3), seed) for _ in range(2))
    for memory in (many, one):
        memory.align(batch(0))
    for turn in range(1, updates + 1):
        many.align(batch(turn))
    one.align(batch(updates))
    assert torch.allclose(many.read().vectors, one.read().vectors, atol=1e-4)


@QUICK
@given(seed=SEED, kind=KIND, steps=st.integers(1, 6))
def test_the_order_of_rows_within_a_dimension_never_changes(seed: int, kind: str, steps: int) -> None:
    memory = filled(plain_xbn(9, 3, kind=kind), seed)
    before = memory.read().vectors.argsort(dim=0)
    for turn in range(steps):
        memory.align(batch_of(rows_of(seed + turn + 1, 5)))
    moved = wide_rows(memory)
    assert torch.equal(moved.gather(0, before).diff(dim=0) >= 0, torch.ones(8, 3, dtype=torch.bool))
    assert bool((memory.scale > 0).all())


@QUICK
@given(seed=SEED, kind=KIND, noise=st.sampled_from(["scalar", "principled"]))
def test_the_order_of_a_batchs_rows_does_not_matter(seed: int, kind: str, noise: str) -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    one, other = (filled(ACBNMemory(12, embed_dim=3, start_step=0, placement="raw", kind=kind, noise=noise), seed)
                  for _ in range(2))  # fmt: skip
    for turn in range(3):
        rows = rows_of(seed + turn, 6)
        one.align(batch_of(rows, labels))
        other.align(batch_of(rows[order], labels[order]))
    assert torch.allclose(one.read().vectors, other.read().vectors, rtol=1e-4, atol=1e-5)


@QUICK
@given(
    seed=SEED,
    kind=KIND,
    capacity=st.integers(4, 20),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=25),
    q=st.sampled_from([0.0, 0.01, 0.3]),
    min_effective=st.sampled_from([1.0, 4.0, 8.0]),
    saved_after=st.integers(0, 25),
)
def test_the_lazy_form_equals_the_in_place_form_over_any_history(
    seed: int, kind: str, capacity: int, sizes: list[int], q: float, min_effective: float, saved_after: int
) -> None:
    def made() -> ACBNMemory:
        return plain_xbn(capacity, 3, kind=kind, q=q, p0=0.5, min_effective=min_effective)

    lazy, slow = made(), InPlace(capacity, kind, q, 1.0, 0.5, min_effective)
    for turn, size in enumerate(min(size, capacity) for size in sizes):
        if turn == saved_after:
            state = {name: value.clone() for name, value in lazy.state_dict().items()}
            lazy = made()
            lazy.load_state_dict(state)
        labels = torch.arange(size) // 2
        batch = batch_of(rows_of(seed + turn, size), labels, first=10 * turn)
        lazy.align(batch)
        slow.align(batch)
        if len(lazy):
            rows = torch.tensor(slow.rows)
            order = lazy.read().ids.argsort()
            assert torch.allclose(
                lazy.read().vectors[order], rows, rtol=1e-4, atol=1e-4 * (1 + float(rows.abs().max()))
            )
        lazy.push(batch)
        slow.push(batch)


@QUICK
@given(seed=SEED, factor=st.sampled_from([1e-3, 0.1, 7.0, 1e3]), noise=st.sampled_from(["scalar", "principled"]))
def test_the_gain_does_not_feel_the_scale_of_the_variances_nor_that_of_the_embedding(
    seed: int, factor: float, noise: str
) -> None:
    def estimates(by: float, stretch: float) -> Tensor:
        filter = MomentFilter(3, q=0.05 * by, r=0.8 * by, p0=2.0 * by, noise=noise)
        for turn in range(6):
            filter.observe(batch_moments(rows_of(seed + turn, 9).double() * stretch, torch.arange(9) // 2))
        return filter.level

    plain = estimates(1.0, 1.0)
    assert torch.allclose(estimates(factor, 1.0), plain, rtol=1e-9, atol=1e-12)
    assert torch.allclose(estimates(1.0, factor) / factor, plain, rtol=1e-6, atol=1e-9)


@QUICK
@given(seed=SEED, labels=st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_the_worth_of_a_batch_is_what_loops_over_its_classes_give(seed: int, labels: list[int]) -> None:
    rows = rows_of(seed, len(labels)).double()
    found = batch_moments(rows, torch.tensor(labels))
    assert found.effective == pytest.approx(worth(rows.tolist(), labels), rel=1e-6)
    assert 1.0 <= found.effective <= len(labels) + 1e-6
    assert torch.allclose(found.mean, rows.mean(0))
    assert torch.allclose(found.std, rows.std(0, correction=0))


@pytest.mark.parametrize(("labels", "value"), [(range(8), 8.0), ([0, 0, 1, 1, 2, 2, 3, 3], 4.0), ([5] * 8, 1.0)])
def test_the_worth_is_the_number_of_rows_or_of_classes_at_the_two_ends(labels: Any, value: float) -> None:
    of_class = rows_of(3, 8).double()
    rows = of_class[torch.tensor(list(labels))]
    assert batch_moments(rows, torch.tensor(list(labels))).effective == pytest.approx(value)


@pytest.mark.parametrize(("rho", "each"), [(0.0, 4), (0.3, 4), (0.8, 4), (0.8, 2)])
def test_the_worth_is_that_of_a_cluster_sample_on_the_average(rho: float, each: int) -> None:
    random = torch.Generator().manual_seed(0)
    labels, found = torch.arange(16).repeat_interleave(each), []
    for _ in range(300):
        shared = torch.randn(16, 32, generator=random).repeat_interleave(each, 0)
        own = torch.randn(16 * each, 32, generator=random)
        found.append(batch_moments(rho**0.5 * shared + (1 - rho) ** 0.5 * own, labels).effective)
    expected = 16 * each / (1 + (each - 1) * rho)
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.04)


@QUICK
@given(seed=SEED, noise=st.sampled_from(["scalar", "principled"]))
def test_a_filter_that_has_seen_much_lies_between_what_it_knew_and_what_it_sees(seed: int, noise: str) -> None:
    filter = MomentFilter(3, noise=noise)
    for turn in range(5):
        before = filter.level.clone()
        now = batch_moments(rows_of(seed + turn, 16).double(), torch.arange(16))
        filter.observe(Moments(now.mean, now.std, now.effective))
        if turn:
            low, high = torch.minimum(before[0], now.mean), torch.maximum(before[0], now.mean)
            assert bool(((filter.level[0] >= low - 1e-12) & (filter.level[0] <= high + 1e-12)).all())


def test_rows_read_from_a_memory_of_unit_rows_have_length_one_and_the_stored_ones_keep_the_moments() -> None:
    memory = ACBNMemory(40, embed_dim=6, start_step=0, kind="xbn", unbiased=False)
    old, new = (torch.nn.functional.normalize(rows_of(s, 40, 6), dim=1) for s in (1, 2))
    memory.push(batch_of(old))
    memory.align(batch_of(new))
    read = memory.read()
    assert read.unit
    assert torch.allclose(read.vectors.norm(dim=1), torch.ones(40), atol=1e-6)
    stored = wide_rows(memory)
    assert torch.allclose(stored.mean(0), new.double().mean(0), atol=1e-6)
    assert float((stored.norm(dim=1) - 1).abs().max()) > 0.01
    both = Embedded(new, torch.arange(40), torch.arange(40))
    memory.align(both)
    assert torch.allclose(wide_rows(memory), stored, atol=1e-6)  # reading wrote nothing back

"""The ways in which moment matching goes wrong, and what the memory does about each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from acbn_plain import batch_of, plain_xbn, wide_rows
from fashreg_acbn.filtering import MomentFilter
from fashreg_acbn.matching import DEAD, MOST, matching_factor
from fashreg_acbn.memory import ACBNMemory
from fashreg_acbn.moments import Moments, small_sample_factor
from torch import Tensor, nn

from fashreg.testing.rows import numbered
from fashreg.values import Embedded


def spread_rows(n: int, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def raw(capacity: int = 64, **options: Any) -> ACBNMemory:
    memory = ACBNMemory(capacity, embed_dim=8, start_step=0, placement="raw", **options)
    memory.push(batch_of(spread_rows(capacity)))
    return memory


def spreads(memory: ACBNMemory) -> Tensor:
    return memory.moments()[1]


@pytest.mark.parametrize("kind", ["adaptive", "xbn", "ema"])
@pytest.mark.parametrize("labels", [[3], [3] * 8])
def test_one_row_or_one_class_does_not_collapse_the_memory_to_a_point(kind: str, labels: list[int]) -> None:
    memory, plain = raw(kind=kind, min_effective=1.0), raw(kind=kind)
    before = spreads(memory)
    for turn in range(5):
        for each in (memory, plain):
            each.align(batch_of(0.01 * spread_rows(len(labels), seed=turn + 1) + 2.0, labels))
    assert torch.allclose(spreads(memory), before)
    assert torch.allclose(spreads(plain), before)
    assert float(memory.moments()[0].mean()) == pytest.approx(2.0, abs=0.1)


def test_plain_xbn_takes_only_the_mean_of_a_batch_worth_too_little() -> None:
    guarded, trusting = raw(kind="xbn"), raw(kind="xbn", min_effective=1.0, unbiased=False)
    before, batch = spreads(guarded), batch_of(0.7 * spread_rows(6, seed=1))
    for memory in (guarded, trusting):
        memory.align(batch)
        assert torch.allclose(memory.moments()[0].float(), batch.vectors.mean(0), atol=1e-6)
    assert torch.allclose(spreads(guarded), before)
    assert torch.allclose(spreads(trusting).float(), batch.vectors.std(0, correction=0), atol=1e-6)


def test_a_filter_trusts_a_small_batch_less() -> None:
    def moved(rows: int, min_effective: float) -> float:
        memory = raw(q=0.0, min_effective=min_effective)
        memory.align(batch_of(torch.zeros(32, 8) + spread_rows(32, seed=1)))
        known = memory.filter.level[0].clone()
        memory.align(batch_of(spread_rows(rows, seed=2) + 10.0))
        return float((memory.filter.level[0] - known).mean())

    assert moved(16, 8.0) == pytest.approx(5.0, abs=0.5)  # K = 1/2
    assert moved(4, 8.0) == pytest.approx(10.0 / 3.0, abs=0.6)  # r doubled: K = 1/3
    assert moved(4, 1.0) == pytest.approx(5.0, abs=0.6)


def test_one_step_changes_a_spread_by_a_factor_of_four_at_most() -> None:
    for wanted, factor in ((1e-9, 1 / MOST), (1e9, MOST), (2.0, 2.0)):
        assert torch.allclose(matching_factor(torch.ones(3), torch.full((3,), wanted)), torch.full((3,), factor))
    memory = raw(kind="xbn")
    before = spreads(memory)
    memory.align(batch_of(1e-3 * spread_rows(16, seed=1)))
    assert torch.allclose(spreads(memory), before / MOST)


def test_class_balanced_batches_move_a_memory_weighted_by_class_frequency_though_nothing_drifts() -> None:
    """The bias of P x K batches is there and stays; it ends at the difference of the two true moments."""
    centres = 3.0 * spread_rows(2, seed=5)
    often, seldom = centres[0] + spread_rows(60, seed=1), centres[1] + spread_rows(4, seed=2)
    memory = ACBNMemory(64, embed_dim=8, start_step=0, placement="raw")
    memory.push(batch_of(torch.cat([often, seldom])))
    was = memory.moments()[0]
    for turn in range(100):
        rows = torch.cat([centres[0] + spread_rows(4, seed=turn), centres[1] + spread_rows(4, seed=1000 + turn)])
        memory.align(batch_of(rows, [0] * 4 + [1] * 4))
    balanced = centres.mean(0)
    assert float((memory.moments()[0] - was).norm()) > 1.0
    assert float((memory.moments()[0].float() - balanced).norm()) < 0.3 * float((was.float() - balanced).norm())


def test_dead_dimensions_are_shifted_and_blow_nothing_up() -> None:
    memory, rows = plain_xbn(20, 8), spread_rows(20)
    rows[:, 2] = 0.7
    memory.push(batch_of(rows))
    memory.align(batch_of(spread_rows(10, seed=1)))
    read = memory.read().vectors
    assert bool(torch.isfinite(read).all())
    assert float(read[:, 2].std()) < 1e-6
    assert float(memory.scale[2]) == 1.0
    assert float(read[0, 2]) == pytest.approx(float(spread_rows(10, seed=1)[:, 2].mean()), abs=1e-6)
    std = torch.tensor([1.0, 1.0, 1.0, 0.5 * DEAD])
    assert matching_factor(std, torch.full((4,), 2.0)).tolist() == [2.0, 2.0, 2.0, 1.0]


def test_dimensions_that_collapse_in_the_batches_collapse_in_the_memory() -> None:
    memory, rows = plain_xbn(20, 8), spread_rows(10, seed=1)
    memory.push(batch_of(spread_rows(20)))
    rows[:, :4] *= 0.3
    for _ in range(2):  # one step changes a spread fourfold at most
        memory.align(batch_of(rows))
    assert torch.allclose(spreads(memory).float(), rows.std(0, correction=0), atol=1e-6)


def test_few_rows_in_memory_are_left_alone() -> None:
    memory = plain_xbn(64, 8)
    memory.push(batch_of(spread_rows(15)))
    memory.align(batch_of(spread_rows(8, seed=1) + 5.0))
    assert torch.equal(memory.read().vectors, spread_rows(15))
    memory.push(batch_of(spread_rows(1, seed=3)))
    memory.align(batch_of(spread_rows(8, seed=1) + 5.0))
    assert float(memory.read().vectors.mean()) > 4.0


def test_a_memory_that_cannot_hold_two_batches_is_matched_when_it_is_full() -> None:
    memory = plain_xbn(10, 8)
    memory.push(batch_of(spread_rows(9)))
    memory.align(batch_of(spread_rows(8, seed=1) + 5.0))
    assert torch.equal(memory.read().vectors, spread_rows(9))
    memory.push(batch_of(spread_rows(3, seed=3)))
    memory.align(batch_of(spread_rows(8, seed=1) + 5.0))
    assert float(memory.read().vectors.mean()) > 4.0


def test_batches_of_one_domain_do_less_harm_to_a_filtered_memory_than_to_plain_xbn() -> None:
    def harm(**options: Any) -> float:
        memory = raw(**options)
        for turn in range(30):
            memory.align(batch_of(spread_rows(32, seed=turn + 1)))
        memory.align(batch_of(spread_rows(32, seed=99) + 4.0))  # dresses only
        return float((memory.moments()[0] - spread_rows(64).double().mean(0)).norm())

    assert harm(q=0.01) < 0.2 * harm(kind="xbn")


@pytest.mark.parametrize("batch", [8, 16])
def test_the_std_of_small_batches_is_low_by_a_known_factor_that_never_compounds(batch: int) -> None:
    def ratio(unbiased: bool) -> float:
        memory = raw(2048, kind="adaptive", q=1e-4, unbiased=unbiased)
        for rows in spread_rows(200 * batch, seed=1).split(batch):
            memory.align(batch_of(rows))
        return float(spreads(memory).mean())

    low = 1.0 / small_sample_factor(batch)
    assert ratio(False) == pytest.approx(low, rel=0.015)
    assert ratio(True) == pytest.approx(1.0, rel=0.015)
    assert low < 0.96


@pytest.mark.parametrize("n", [2, 3, 5, 20, 100])
def test_the_small_sample_factor_is_what_sampling_gives(n: int) -> None:
    samples = torch.randn(20000, n, generator=torch.Generator().manual_seed(n))
    measured = 1.0 / float(samples.std(1, correction=0).mean())
    assert small_sample_factor(n) == pytest.approx(measured, rel=0.015)


def test_statistics_of_half_precision_batches_are_not_kept_in_half_precision() -> None:
    large = (300.0 * spread_rows(16, seed=1)).half()  # squares beyond the range of float16
    memory = raw(kind="xbn", unbiased=False)
    layer = nn.Linear(8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(large.float())
        for _ in range(4):  # one step changes a spread fourfold at most
            memory.align(batch_of(large))
        memory.push(batch_of(large))
    for tensor in (memory.scale, memory.shift, memory.sums, memory.filter.level, memory.filter.spread):
        assert tensor.dtype == torch.float64
        assert bool(torch.isfinite(tensor).all())
    wide = large.double()
    assert torch.allclose(memory.filter.level[1], wide.std(0, correction=0), rtol=1e-5)
    assert torch.allclose(wide_rows(memory)[:16], wide, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_neither_moments_nor_worth(dtype: torch.dtype) -> None:
    inside, outside = raw(), raw()
    for turn in range(3):
        batch = batch_of(spread_rows(12, seed=turn).to(dtype), torch.arange(12) // 3)
        outside.align(batch)
        with torch.autocast("cpu", dtype=dtype):
            inside.align(batch)
    assert torch.equal(inside.filter.level, outside.filter.level)
    assert torch.equal(inside.read().vectors, outside.read().vectors)


def test_bfloat16_rows_do_not_gather_the_rounding_of_every_step() -> None:
    memory, exact = (
        ACBNMemory(256, embed_dim=8, start_step=0, placement="raw", dtype=dtype) for dtype in ("bfloat16", "float32")
    )
    for turn in range(200):  # rewriting in place would round each row 64 times
        batch = batch_of(spread_rows(4, seed=turn), first=4 * turn)
        for each in (memory, exact):
            each.align(batch)
            each.push(batch)
    error = (memory.read().vectors - exact.read().vectors).norm() / exact.read().vectors.norm()
    assert float(error) < 4 * 2**-9


def test_rows_of_each_process_alone_are_another_memory_and_the_checksum_tells() -> None:
    whole = spread_rows(32, seed=1)
    together = [raw() for _ in range(2)]
    apart = [raw() for _ in range(2)]
    for memory in together:
        memory.align(batch_of(whole))
    for memory, part in zip(apart, whole.chunk(2), strict=True):
        memory.align(batch_of(part))
    assert together[0].checksum() == together[1].checksum()
    assert apart[0].checksum() != apart[1].checksum()


@pytest.mark.parametrize("told", [False, True])
def test_after_a_jump_of_the_learning_rate_the_filter_catches_up_and_sooner_when_told(told: bool) -> None:
    memory = raw(q=1e-4)
    for turn in range(200):
        memory.align(batch_of(spread_rows(16, seed=turn + 1)))
    if told:
        memory.reinflate()
    gaps = []
    for turn in range(200):
        memory.align(batch_of(spread_rows(16, seed=500 + turn) + 3.0))
        gaps.append(float((memory.moments()[0] - 3.0).abs().mean()))
    assert gaps[-1] < 0.6
    assert (gaps[3] < 1.0) == told  # K = 1/2, 1/3, 1/4, ... against 0.01
    assert memory.filter.loosened == 0


def test_a_reinflated_filter_lets_the_present_count_as_much_as_all_the_past() -> None:
    memory = raw(q=0.0)
    for _ in range(50):
        memory.align(batch_of(spread_rows(16, seed=1)))
    memory.reinflate()
    memory.align(batch_of(spread_rows(16, seed=1) + 1.0))
    moved = memory.filter.level[0].float() - spread_rows(16, seed=1).mean(0)
    assert torch.allclose(moved, torch.full((8,), 0.5), atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_poisons_no_filter(bad: float) -> None:
    memory, batch = raw(), batch_of(spread_rows(16, seed=1))
    memory.align(batch)
    level, read = memory.filter.level.clone(), memory.read().vectors
    broken = batch.vectors.clone()
    broken[3, 1] = bad
    with pytest.raises(ValueError, match=r"row 3 \(id 3\).*not finite"):
        memory.align(Embedded(broken, batch.labels, batch.ids))
    assert torch.equal(memory.filter.level, level)
    assert torch.equal(memory.read().vectors, read)


def test_the_principled_noise_lets_quiet_dimensions_follow_faster() -> None:
    memory = raw(noise="principled", q=0.01)
    rows = spread_rows(32, seed=1)
    rows[:, :4] *= 0.1
    memory.align(batch_of(rows))
    memory.align(batch_of(rows + 0.05))
    moved = (memory.filter.level[0].float() - rows.mean(0)) / 0.05
    assert float(moved[:4].min()) > float(moved[4:].max())
    assert float(moved.min()) > 0.4
    assert float(moved.max()) <= 1.0


def test_the_principled_noise_is_what_sampling_theory_says() -> None:
    filter = MomentFilter(3, q=0.0, r=1.0, p0=1.0, noise="principled", unbiased=False)
    std = torch.tensor([1.0, 2.0, 0.5])
    now = Moments(torch.zeros(3), std, 20.0)
    filter.observe(now)
    assert torch.allclose(filter.spread.float(), torch.stack([std**2 / 20, std**2 / 38]))
    samples = torch.randn(20000, 20, generator=torch.Generator().manual_seed(0))
    measured = samples.mean(1).var(), samples.std(1).var()
    assert [float(p) for p in filter.spread[:, 0]] == pytest.approx([float(v) for v in measured], rel=0.05)
    filter.q = 0.1
    filter.observe(now)  # p = 1 / n + 0.1 mean(std^2), in every dimension
    p, r = std**2 / 20 + 0.1 * (std**2).mean(), std**2 / 20
    assert torch.allclose(filter.spread[0].float(), (1 - p / (p + r)) * p)


def test_a_memory_in_warm_up_has_no_filter_yet_and_begins_with_the_batch_it_starts_on() -> None:
    memory = ACBNMemory(12, embed_dim=4, start_step=3)
    for turn in range(3):
        memory.align(numbered(6, first=6 * turn))
        assert not memory.filter.seen.any()
    memory.align(numbered(6, first=40))
    assert memory.filter.seen.flatten().tolist() == [1.0, 1.0]
    assert torch.allclose(memory.filter.level[0].float(), numbered(6, first=40).vectors.mean(0), atol=1e-6)

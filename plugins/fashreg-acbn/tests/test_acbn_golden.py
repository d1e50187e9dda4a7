"""The golden checks X1 to X16 of the method, worked out by hand or against the slow in-place form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from acbn_plain import InPlace, batch_of, plain_xbn, wide_rows
from fashreg_acbn.filtering import MomentFilter
from fashreg_acbn.kalman import kalman_step, steady_gain
from fashreg_acbn.matching import matched, matching_factor
from fashreg_acbn.memory import ACBNMemory
from fashreg_acbn.moments import Moments
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.testing.rows import numbered
from fashreg.values import Embedded

FOUR = [[1.0, 2.0], [3.0, 2.0], [5.0, 8.0], [7.0, 8.0]]  # mean (4, 5), std (sqrt 5, 3)
TWO = [[0.0, 1.0], [2.0, 5.0]]  # mean (1, 3), std (1, 2)


def random_rows(n: int, width: int = 4, seed: int = 0) -> Tensor:
    """Rows whose mean and spread differ by dimension and seed."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, width, generator=random, dtype=torch.float64)
    return rows * (0.5 + torch.rand(width, generator=random)) + torch.randn(width, generator=random)


def four_in_memory(capacity: int = 4, **options: Any) -> ACBNMemory:
    memory = plain_xbn(capacity, 2, **options)
    memory.push(batch_of(FOUR))
    return memory


def test_four_rows_are_moved_to_the_moments_of_two() -> None:  # X1
    memory = four_in_memory()
    memory.align(batch_of(TWO))
    wanted = [[-0.3416407865, 1.0], [0.5527864045, 1.0], [1.4472135955, 5.0], [2.3416407865, 5.0]]
    assert torch.allclose(wide_rows(memory), torch.tensor(wanted, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(memory.read().vectors, torch.tensor(wanted), atol=1e-6)
    assert memory.scale.tolist() == pytest.approx([0.4472135955, 0.6666666667], abs=1e-9)
    assert memory.shift.tolist() == pytest.approx([-0.7888543820, -0.3333333333], abs=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_after_an_update_the_moments_are_the_wanted_ones(dtype: torch.dtype, tolerance: float) -> None:  # X2
    memory, batch = plain_xbn(3000, 8), random_rows(500, 8, seed=1).to(dtype)
    memory.push(batch_of(random_rows(3000, 8)))
    memory.align(batch_of(batch))
    rows = wide_rows(memory) if dtype == torch.float64 else memory.read().vectors.double()
    wanted = batch.double()
    assert float((rows.mean(0) - wanted.mean(0)).abs().max()) < tolerance
    assert float((rows.std(0, correction=0) - wanted.std(0, correction=0)).abs().max()) < tolerance


def test_the_last_update_wins_and_equal_moments_change_nothing() -> None:  # X3
    first, second = batch_of(random_rows(6, seed=1)), batch_of(random_rows(6, seed=2))
    both, one = plain_xbn(12, 4), plain_xbn(12, 4)
    for memory in (both, one):
        memory.push(batch_of(random_rows(12)))
    both.align(first)
    both.align(second)
    one.align(second)
    assert torch.allclose(both.read().vectors, one.read().vectors, atol=1e-6)
    before = one.read().vectors
    one.align(second)
    assert torch.allclose(one.read().vectors, before, atol=1e-6)
    own = plain_xbn(12, 4)
    own.push(batch_of(random_rows(12)))
    own.align(batch_of(random_rows(12)))
    assert torch.allclose(own.read().vectors.double(), random_rows(12), atol=1e-6)


@pytest.mark.parametrize("kind", ["xbn", "adaptive", "ema"])
def test_the_lazy_form_equals_rewriting_every_row(kind: str) -> None:  # X4
    q, r, p0 = 0.05, 1.0, 2.0
    lazy = plain_xbn(30, 4, kind=kind, q=q, r=r, p0=p0, min_effective=3.0)
    slow = InPlace(30, kind, q, r, p0, 3.0)
    random = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    anchors = random_rows(5, seed=9)
    for step in range(60):  # 12 M / B steps, with a rebase after 8
        drift = 1.0 + 0.3 * torch.randn(4, generator=random, dtype=torch.float64).abs()
        batch = batch_of(random_rows(6, seed=step) * drift + 0.05 * step, labels, first=6 * step)
        lazy.align(batch)
        slow.align(batch)
        if len(lazy):
            order = lazy.read().ids.argsort()
            rows = torch.tensor(slow.rows, dtype=torch.float64)
            assert torch.allclose(lazy.read().vectors[order].double(), rows, rtol=0, atol=1e-5)
            s = anchors.float() @ lazy.read().vectors[order].T
            assert torch.allclose(s.double(), anchors @ rows.T, rtol=1e-5, atol=1e-5)
        lazy.push(batch)
        slow.push(batch)
    assert int(lazy.since_rebase) < 60 * 6


def test_memory_and_batch_of_equal_moments_have_them_together_in_the_population_form_only() -> None:  # X5
    memory = four_in_memory(6)
    memory.align(batch_of(TWO))
    memory.push(batch_of(TWO, first=4))
    mean, std = memory.moments()
    assert mean.tolist() == pytest.approx([1.0, 3.0], abs=1e-6)
    assert std.tolist() == pytest.approx([1.0, 2.0], abs=1e-6)
    sample = wide_rows(memory).std(0)
    assert sample.tolist() == pytest.approx([1.0954451150, 2.1908902300], abs=1e-6)
    assert torch.tensor(TWO).std(0).tolist() == pytest.approx([1.4142135624, 2.8284271247], abs=1e-6)


def walk(q: float, r: float, p0: float, m0: float = 0.0) -> tuple[list[float], list[float]]:
    """Gains and estimates for the observations 1, 2, 4, 8."""
    m, p = torch.tensor(m0, dtype=torch.float64), p0
    gains, means = [], []
    for z in (1.0, 2.0, 4.0, 8.0):
        whole = kalman_step(m[None], m.new_tensor([p]), m.new_tensor([z]), *m.new_tensor([[q], [r]]))
        m, p, k = kalman_step(m, p, torch.tensor(z, dtype=torch.float64), q, r)
        assert [float(x) for x in whole] == pytest.approx(
            [float(m), p, k], abs=1e-12
        )  # one for all, or one a dimension
        gains.append(float(k))
        means.append(float(m))
    return gains, means


def about(*values: float, abs: float = 1e-7) -> Any:
    return pytest.approx(list(values), abs=abs)


def test_a_diffuse_start_without_walk_is_the_running_mean() -> None:  # X6
    gains, means = walk(0.0, 1.0, 1e9)
    assert gains == about(1, 1 / 2, 1 / 3, 1 / 4)
    assert means == about(1, 1.5, 7 / 3, 3.75)


def test_a_start_worth_one_observation_counts_as_one() -> None:  # X7
    gains, means = walk(0.0, 1.0, 1.0)
    assert gains == about(1 / 2, 1 / 3, 1 / 4, 1 / 5)
    assert means == about(0.5, 1.0, 1.75, 3.0)


def test_equal_variances_give_the_ratios_of_fibonacci() -> None:  # X8
    gains, means = walk(1.0, 1.0, 1.0)
    assert gains == about(2 / 3, 5 / 8, 13 / 21, 34 / 55)
    assert means == about(2 / 3, 1.5, 3.0476190476, 6.1090909091)


def test_without_noise_every_batch_is_believed_and_the_filter_is_plain_xbn() -> None:  # X9
    gains, means = walk(1.0, 0.0, 0.0)
    assert (gains, means) == ([1.0] * 4, [1.0, 2.0, 4.0, 8.0])
    assert walk(0.0, 0.0, 0.0)[0] == [1.0] * 4  # 0 / 0 counts as 1
    adaptive, xbn = plain_xbn(20, 4, kind="adaptive", r=0.0, p0=0.0), plain_xbn(20, 4)
    for step in range(9):
        batch = batch_of(random_rows(5, seed=step), first=5 * step)
        for memory in (adaptive, xbn):
            memory.align(batch)
            memory.push(batch)
        assert torch.equal(adaptive.filter.level, xbn.filter.level)
        assert torch.equal(adaptive.read().vectors, xbn.read().vectors)
        assert not adaptive.filter.spread.any()


def test_a_slow_walk_has_the_gains_worked_out_by_hand() -> None:  # X10
    gains, means = walk(0.01, 1.0, 1.0)
    assert gains == about(0.502487562, 0.338837538, 0.258620870, 0.211742434, abs=1e-9)
    assert means == about(0.502487562, 1.009900990, 1.783202999, 3.099562725, abs=1e-9)
    for q, limit in ((0.01, 0.0951249220), (0.01111111111, 0.1), (0.5, 0.5), (1.0, 0.6180339887), (1.0101e-4, 0.01)):
        assert steady_gain(q, 1.0) == pytest.approx(limit, abs=1e-6)
        assert limit**2 / (1 - limit) == pytest.approx(q, rel=1e-4)


def observed(filter: MomentFilter, values: list[float], worth: float = 64.0) -> list[float]:
    """The estimates of the mean after each of the observations."""
    found = []
    for value in values:
        filter.observe(Moments(torch.full((3,), value), torch.ones(3), worth))
        found.append(float(filter.level[0, 0]))
    return found


def test_the_first_batch_initialises_and_counts_as_one() -> None:  # X11
    values = [1.0, 2.0, 4.0, 8.0, -3.0]
    running = [sum(values[: n + 1]) / (n + 1) for n in range(5)]
    assert observed(MomentFilter(3, q=0.0), values) == pytest.approx(running, abs=1e-12)


@pytest.mark.parametrize("noise", ["scalar", "principled"])
def test_only_ratios_of_the_variances_matter(noise: str) -> None:  # X12
    values = [1.0, 2.0, 4.0, 8.0]
    one, other = (MomentFilter(3, q=0.2 * c, r=0.7 * c, p0=1.3 * c, noise=noise) for c in (1.0, 5.0))
    assert observed(one, values) == pytest.approx(observed(other, values), abs=1e-12)


def test_a_constant_is_reached_at_once_and_kept_and_a_wild_walk_believes_the_batch() -> None:  # X13
    for kind in ("adaptive", "ema", "xbn"):
        assert observed(MomentFilter(3, kind), [2.5] * 20) == [2.5] * 20
    m, p = torch.zeros(()), 1.0
    for _ in range(60):
        m, p, _ = kalman_step(m, p, torch.tensor(2.5), 0.1, 1.0)
    assert float(m) == pytest.approx(2.5, abs=1e-5)
    assert walk(1e12, 1.0, 1.0)[0] == about(1, 1, 1, 1, abs=1e-11)


def test_stretch_and_shift_are_undone_and_a_rotation_is_not() -> None:  # X14
    old = random_rows(200, 4).float()
    new = old * torch.tensor([0.5, 2.0, 1.1, 0.8]) + torch.tensor([0.3, -1.0, 0.0, 2.0])
    memory = plain_xbn(200, 4)
    memory.push(batch_of(old))
    memory.align(batch_of(new))
    assert torch.allclose(memory.read().vectors, new, atol=1e-5)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))[0]
    memory.align(batch_of(old @ rotation))
    assert float((memory.read().vectors - old @ rotation).norm(dim=1).mean()) > 0.5
    mean, std = memory.moments()
    assert torch.allclose(mean.float(), (old @ rotation).mean(0), atol=1e-5)
    assert torch.allclose(std.float(), (old @ rotation).std(0, correction=0), atol=1e-5)


@pytest.mark.parametrize(
    "loss", [ContrastiveLoss(), MultiSimilarityLoss(), InfoNCELoss()], ids=lambda x: type(x).__name__
)
def test_gradients_are_those_of_a_constant_memory_and_none_goes_into_it(loss: nn.Module) -> None:  # X15
    memory = ACBNMemory(12, embed_dim=4, start_step=0, min_effective=1.0)
    memory.push(Embedded(numbered(12).vectors, torch.arange(12) % 3, torch.arange(12)))
    through, plain = (numbered(6, first=20).vectors.requires_grad_() for _ in range(2))
    labels, ids = torch.arange(6) % 3, torch.arange(20, 26)
    memory.align(Embedded(through, labels, ids, unit=True))
    read = memory.read()
    constant = Embedded(read.vectors.clone(), read.labels, read.ids, unit=True)
    one, other = (
        loss(Embedded(through, labels, ids, unit=True), read),
        loss(Embedded(plain, labels, ids, True), constant),
    )
    one.backward()
    other.backward()
    assert one.item() == pytest.approx(other.item(), abs=1e-6)
    assert through.grad is not None
    assert plain.grad is not None
    assert float(plain.grad.norm()) > 0.01
    assert torch.allclose(through.grad, plain.grad, atol=1e-6)
    memory.push(Embedded(through, labels, ids))
    assert not any(buffer.requires_grad for buffer in memory.buffers())
    assert not read.vectors.requires_grad


@pytest.mark.parametrize("options", [{}, {"kind": "xbn"}, {"noise": "principled", "dtype": "bfloat16"}])
def test_a_checkpoint_holds_everything_to_the_bit(options: dict[str, Any], tmp_path: Path) -> None:  # X16
    def step(memory: ACBNMemory, turn: int) -> Tensor:
        batch = numbered(5, first=5 * turn)
        memory.align(batch)
        read = memory.read().vectors
        memory.push(batch)
        return read

    memory, other = (ACBNMemory(12, embed_dim=4, start_step=1, **options) for _ in range(2))
    for turn in range(9):
        step(memory, turn)
    save_file(memory.state_dict(), tmp_path / "memory.safetensors")
    other.load_state_dict(load_file(tmp_path / "memory.safetensors"))
    assert other.checksum() == memory.checksum()
    state = memory.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())
    assert {"emb", "scale", "shift", "sums", "write_pos", "count", "filter.level", "filter.spread"} <= set(state)
    for turn in range(9, 15):
        assert torch.equal(step(memory, turn), step(other, turn))
    assert other.checksum() == memory.checksum()


def test_the_map_is_the_textbook_formula() -> None:
    rows, wanted_mean, wanted_std = random_rows(50), torch.ones(4).double(), torch.full((4,), 0.7).double()
    mean, std = rows.mean(0), rows.std(0, correction=0)
    factor = matching_factor(std, wanted_std)
    scale, shift = matched(torch.ones(4).double(), factor, mean, wanted_mean)
    assert torch.allclose(rows * scale + shift, (rows - mean) / std * wanted_std + wanted_mean, atol=1e-12)

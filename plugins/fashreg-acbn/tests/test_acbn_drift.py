"""The drift meter: its numbers by hand, what moving rows is worth, and which pictures come again."""

from __future__ import annotations

import json

import pytest
import torch
from fashreg_acbn.drift import DriftMeter, drift_of, revisited
from fashreg_acbn.memory import ACBNMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fashreg.memories.xbm import XBMMemory
from fashreg.values import Embedded

M, D, B = 96, 6, 16


def drawn(n: int = 200, d: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(n: int) -> Tensor:
    """What a network of fixed weights would make of pictures 0 .. n - 1: unit rows off the origin."""
    return torch.nn.functional.normalize(drawn(n, D).float() + 1.5)


def test_the_numbers_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    present = torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    drift = drift_of(rows, present, torch.tensor([10, 11]))
    assert drift.rows == 2
    assert drift.distance == pytest.approx((2**0.5 + 3) / 2)
    assert drift.angle == pytest.approx(0.5)  # a right angle, and none
    assert drift.mean_gap == pytest.approx((0.5**2 + 2**2) ** 0.5)  # (0.5, 1) and (0, 3)
    assert drift.std_gap == pytest.approx((0.5**2 + 1**2) ** 0.5)  # (0.5, 1) and (0, 2)
    young, old = drift.by_age
    assert (young.above, young.upto, young.rows, young.age) == (-1, 10, 1, 10.0)
    assert (old.above, old.upto, old.rows, old.age) == (10, 100, 1, 11.0)
    assert [young.distance, young.angle] == pytest.approx([2**0.5, 1.0])
    assert [old.distance, old.angle] == pytest.approx([3.0, 0.0])
    assert drift.correctable == pytest.approx(1.0)  # matching (0.5, 1) to (0, 3): both rows arrive
    assert json.loads(json.dumps(drift.as_dict()))["by_age"][1]["rows"] == 1


def test_a_stretch_and_a_shift_are_correctable_whole_and_a_rotation_is_not() -> None:
    rows = drawn()
    assert drift_of(rows, 3 * rows - 2).correctable == pytest.approx(1.0)
    turned = rows[:, [1, 0, 3, 2, 4]] * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    left = drift_of(rows, turned).correctable
    assert left is not None
    assert left < 0.1
    assert drift_of(rows, drawn(seed=1) + 2).correctable == pytest.approx(20 / 30, abs=0.1)  # shift 20, scatter 10


def test_rows_that_stand_where_they_stood_have_not_drifted() -> None:
    drift = drift_of(drawn(), drawn())
    assert drift.distance == drift.mean_gap == drift.std_gap == 0.0
    assert drift.correctable is None
    assert drift.angle == pytest.approx(0.0, abs=1e-12)
    assert drift.by_age == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99), st.lists(st.integers(0, 50), unique=True, max_size=4).map(sorted))
def test_the_bins_together_hold_every_row_once(n: int, seed: int, edges: list[int]) -> None:
    ages = torch.randint(0, 60, (n,), generator=torch.Generator().manual_seed(seed))
    drift = drift_of(drawn(n, seed=seed), drawn(n, seed=seed + 1), ages, edges)
    assert sum(bin.rows for bin in drift.by_age) == n
    for name in ("distance", "angle"):
        mean = sum(getattr(bin, name) * bin.rows for bin in drift.by_age) / n
        assert mean == pytest.approx(getattr(drift, name))
    for bin in drift.by_age:
        assert bin.above < bin.age <= (1000 if bin.upto is None else bin.upto)


@pytest.mark.parametrize(
    ("rows", "present", "ages", "edges", "message"),
    [
        (drawn(3), drawn(4), None, (), "must both be"),
        (drawn(0), drawn(0), None, (), "n >= 1"),
        (drawn(3), drawn(3), torch.arange(2), (), "one age"),
        (drawn(3), drawn(3), torch.arange(3), (9, 3), "ascend"),
        (drawn(3), drawn(3) / 0, None, (), "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    rows: Tensor, present: Tensor, ages: Tensor | None, edges: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        drift_of(rows, present, ages, edges)


def test_the_meter_tells_what_following_the_drift_is_worth() -> None:
    z, wander = pictures(640), torch.tensor([0.0, 0.4, -0.3, 0.1, 0.5, -0.2])

    def network(ids: Tensor, step: int) -> Tensor:
        return z[ids] * (1 + 0.03 * step) + 0.3 * step * wander

    memory = ACBNMemory(M, embed_dim=D, start_step=0, q=1.0, placement="raw")
    plain = XBMMemory(M, embed_dim=D, start_step=0, unit=False)
    meter, other = DriftMeter(memory), DriftMeter(plain)
    for step in range(20):
        ids = torch.arange(640)[step :: 640 // B][:B]
        batch = Embedded(network(ids, step), ids, ids)
        for one, its in ((memory, meter), (plain, other)):
            one.align(batch)
            its.push(batch)
    ids = torch.arange(640)[20 :: 640 // B][:B]
    for one in (memory, plain):
        one.align(Embedded(network(ids, 20), ids, ids))
    found, unmoved = (m.measure(lambda ids: network(ids, 20), edges=(2, 4)) for m in (meter, other))
    pushed, read = found["as pushed"], found["as read"]
    assert pushed == unmoved["as pushed"] == unmoved["as read"]
    assert read.distance < 0.5 * pushed.distance
    assert read.mean_gap < 0.5 * pushed.mean_gap
    assert pushed.correctable is not None
    assert pushed.correctable > 0.8
    distances = [bin.distance for bin in pushed.by_age]
    assert distances == sorted(distances), "older rows have drifted farther"
    assert [bin.rows for bin in pushed.by_age] == [2 * B, 2 * B, M - 4 * B]


def test_the_meter_keeps_an_even_sample_of_the_rows_as_they_were_pushed() -> None:
    z = pictures(300)
    memory = ACBNMemory(50, embed_dim=D, start_step=2, q=1.0)
    meter = DriftMeter(memory, rows=17)  # every third slot
    with pytest.raises(ValueError, match="no row yet"):
        meter.measure(lambda ids: z[ids])
    for step in range(40):
        ids = torch.arange(7 * step, 7 * step + 7)
        batch = Embedded(z[ids], ids, ids, unit=True)
        memory.align(batch)
        meter.push(batch)
        if step < 2:
            assert len(memory) == 0
    found = meter.measure(lambda ids: z[ids])
    assert found["as pushed"].rows == 17
    assert found["as pushed"].distance == 0.0
    assert found["as read"].distance > 0.0
    swapped = meter.measure(lambda ids: z[ids.flip(0)])["as pushed"]
    wanted = z[memory.sample_id[::3]]
    assert swapped.distance == pytest.approx(float((wanted - wanted.flip(0)).norm(dim=1).mean()), rel=1e-5)
    with pytest.raises(ValueError, match="rows must be 1"):
        DriftMeter(memory, rows=0)


def test_a_switch_of_batch_norm_shows_as_drift_though_no_weight_moved() -> None:
    """So rows are compared in the mode they were made in; what the two modes differ by is not drift."""
    torch.manual_seed(0)
    network, images = torch.nn.BatchNorm1d(D), 3.0 * drawn(M, D).float() + 1.0
    memory = ACBNMemory(M, embed_dim=D, start_step=0, placement="raw")
    meter = DriftMeter(memory)
    ids = torch.arange(M)
    batch = Embedded(network.train()(images).detach(), ids, ids)
    memory.align(batch)
    meter.push(batch)
    assert meter.measure(lambda ids: network.train()(images)[ids])["as pushed"].distance < 1e-5
    assert meter.measure(lambda ids: network.eval()(images)[ids])["as pushed"].distance > 1.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-2, 12), max_size=15), st.lists(st.integers(-2, 12), max_size=6, unique=True))
def test_revisited_finds_every_remembered_copy_of_the_batchs_pictures(kept: list[int], asked: list[int]) -> None:
    memory = XBMMemory(20, embed_dim=D, start_step=0)
    if kept:
        memory.push(Embedded(pictures(len(kept)), torch.zeros(len(kept)).long(), torch.tensor(kept), unit=True))
    ids = torch.tensor(asked, dtype=torch.int64)
    slots, places = revisited(memory, Embedded(torch.zeros(len(ids), D), ids, ids))
    found = list(zip(slots.tolist(), places.tolist(), strict=True))
    assert found == [(s, asked.index(i)) for s, i in enumerate(kept) if i >= 0 and i in asked]

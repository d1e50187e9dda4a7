"""ACBNMemory beyond the contract: options, what is kept where, what is read."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from acbn_plain import batch_of
from fashreg_acbn.filtering import MomentFilter
from fashreg_acbn.memory import ACBNMemory
from torch import nn

from fashreg.errors import ModelError
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.triplet import TripletLoss
from fashreg.testing.rows import numbered
from fashreg.values import AffineEmbedded, Embedded


def make(capacity: int = 12, **options: Any) -> ACBNMemory:
    return ACBNMemory(capacity, embed_dim=4, **{"start_step": 0, **options})


def worked(memory: ACBNMemory, steps: int = 6) -> ACBNMemory:
    for turn in range(steps):
        memory.align(numbered(4, first=4 * turn))
        memory.push(numbered(4, first=4 * turn))
    return memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kalman"}, '"adaptive", "xbn" or "ema"'),
        ({"noise": "loud"}, '"scalar" or "principled"'),
        ({"placement": "sphere"}, '"unit" or "raw"'),
        ({"q": -0.1}, "q must be finite and 0 or more"),
        ({"r": float("nan")}, "r must be"),
        ({"p0": float("inf")}, "p0 must be"),
        ({"min_effective": 0.5}, "min_effective must be finite and 1 or more"),
        ({"capacity": 0}, "capacity 0"),
        ({"dtype": "float16"}, '"float32" or "bfloat16"'),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_every_parameter_is_kept_as_the_attribute_of_its_name() -> None:
    options = {"kind": "ema", "q": 0.3, "r": 2.0, "p0": 3.0, "noise": "principled", "placement": "raw"}
    options |= {"min_effective": 4.0, "unbiased": False, "batch_weight": 0.5, "memory_weight": 2.0, "start_step": 3}
    options |= {"exclusion": "slot", "fill": "sampled", "dtype": "bfloat16"}
    memory = make(**options)
    assert {name: getattr(memory, name) for name in options} == options
    assert memory.unit is False
    assert make().unit


def test_what_is_read_is_not_written_out() -> None:
    memory = worked(make())
    read = memory.read()
    assert isinstance(read, AffineEmbedded)
    assert read.stored.data_ptr() == memory.emb.data_ptr()
    assert read.unit


@pytest.mark.parametrize("placement", ["unit", "raw"])
def test_losses_see_cosines_whatever_the_placement(placement: str) -> None:
    memory = make(placement=placement, kind="xbn", min_effective=1.0)
    scale = 1.0 if placement == "unit" else 3.0
    memory.push(Embedded(numbered(12).vectors * scale, torch.arange(12) % 3, torch.arange(12)))
    batch = Embedded(numbered(6, first=20).vectors * scale, torch.arange(6) % 3, torch.arange(20, 26))
    memory.align(batch)
    read = memory.read()
    rows = nn.functional.normalize(read.vectors, dim=1)
    for loss in (ContrastiveLoss(), TripletLoss()):
        plain = loss(batch, Embedded(rows, read.labels, read.ids, unit=True))
        assert float(loss(batch, read)) == pytest.approx(float(plain), abs=1e-6)


def test_lengths_are_refused_by_unit_rows_and_taken_by_raw_ones() -> None:
    batch = Embedded(numbered(3).vectors * 3, torch.arange(3), torch.arange(3))
    with pytest.raises(ValueError, match="length 3, not 1"):
        make().push(batch)
    raw = make(placement="raw")
    raw.push(batch)
    assert torch.allclose(raw.read().vectors, batch.vectors, atol=1e-6)


def test_a_refused_push_leaves_the_sums_alone() -> None:
    memory, bad = worked(make()), numbered(3)
    before = memory.checksum()
    bad.vectors[1, 1] = float("nan")
    with pytest.raises(ValueError, match="row 1"):
        memory.push(bad)
    assert memory.checksum() == before


def test_the_sums_are_those_of_the_stored_rows_after_any_number_of_pushes() -> None:
    memory = worked(make(10), 50)
    rows = memory.emb.double()
    assert torch.allclose(memory.sums, torch.stack([rows.sum(0), rows.square().sum(0)]), atol=1e-9)
    mean, std = memory.moments()
    now = rows * memory.scale + memory.shift
    assert torch.allclose(mean, now.mean(0), atol=1e-9)
    assert torch.allclose(std, now.std(0, correction=0), atol=1e-7)


def test_rows_are_written_out_once_in_a_while_or_when_the_scale_has_gone_far() -> None:
    memory = worked(make(), 25)
    assert int(memory.since_rebase) == 4  # once after eight turns of the ring
    before = memory.read().vectors
    memory._rebase()
    assert torch.equal(memory.scale, torch.ones(4).double())
    assert torch.allclose(memory.read().vectors, before, atol=1e-6)
    shrinking = make(placement="raw", kind="xbn", min_effective=1.0)
    shrinking.push(numbered(12))
    for turn in range(12):  # 22 powers of two in all
        shrinking.align(Embedded(numbered(6).vectors * 4.0**-turn, torch.arange(6), torch.arange(6)))
        assert bool((shrinking.scale.log2().abs() <= 14).all())
    assert int(shrinking.since_rebase) == 0
    assert float(shrinking.moments()[1].max()) < 1e-5


def test_casting_and_moving_keep_the_moments_and_the_counters() -> None:
    memory = worked(make())
    before = memory.checksum()
    memory.half().to(torch.bfloat16).float()
    assert memory.checksum() == before
    assert memory.to("meta").scale.device.type == "meta"
    assert memory.filter.level.device.type == "meta"
    assert memory.since_rebase.device.type == memory.filter.loosened.device.type == "cpu"


def test_reset_forgets_map_and_filters() -> None:
    memory = worked(make())
    memory.reinflate()
    memory.reset()
    assert memory.checksum() == make().checksum()


def test_a_copy_goes_its_own_way() -> None:
    memory = worked(make())
    before, twin = memory.checksum(), copy.deepcopy(memory)
    worked(twin)
    assert memory.checksum() == before
    assert twin.checksum() != before


def test_the_state_of_another_memory_is_refused_and_nothing_changes() -> None:
    memory, plain = worked(make()), worked(make(9))
    before = memory.checksum()
    with pytest.raises(ModelError, match=r"\(9, 4\).*\(12, 4\)"):
        memory.load_state_dict(plain.state_dict())
    assert memory.checksum() == before
    with pytest.raises(RuntimeError, match="scale"):
        memory.load_state_dict({k: v for k, v in memory.state_dict().items() if k != "scale"})


def test_ragged_and_empty_batches_are_taken() -> None:
    memory = make(kind="xbn", min_effective=1.0)
    for turn, size in enumerate((5, 1, 0, 12, 3)):
        memory.align(numbered(size, first=20 * turn))
        memory.push(numbered(size, first=20 * turn))
    assert bool(torch.isfinite(memory.read().vectors).all())
    assert int(memory.step) == 5


def test_the_filter_stands_alone() -> None:
    filter = MomentFilter(4)
    from fashreg_acbn.moments import batch_moments

    filter.observe(batch_moments(numbered(9).vectors, torch.arange(9)))
    assert torch.allclose(filter.level[0].float(), numbered(9).vectors.mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="kind"):
        MomentFilter(4, kind="other")


def test_labels_of_any_integer_type_are_taken() -> None:
    memory = make()
    rows = numbered(12)
    memory.push(rows)
    memory.align(batch_of(rows.vectors[:6], torch.arange(6, dtype=torch.int32)))
    assert memory.filter.seen.flatten().tolist() == [1.0, 1.0]


def test_printing_shows_the_kind() -> None:
    assert "0 of 12 x 4 float32, step 0, adaptive, q=0.01, r=1" in repr(make())

"""XBMMemory beyond the contract: options, bad input, precision, what is kept where."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fashreg.errors import ModelError
from fashreg.memories.xbm import XBMMemory
from fashreg.testing.rows import joined, numbered, same_rows
from fashreg.values import Embedded


def make(capacity: int = 7, **options: Any) -> XBMMemory:
    return XBMMemory(capacity, embed_dim=4, **{"start_step": 0, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity 0"),
        ({"embed_dim": 0}, "embed_dim 0"),
        ({"start_step": -1}, "start_step"),
        ({"batch_weight": -0.5}, "batch_weight"),
        ({"memory_weight": float("nan")}, "memory_weight"),
        ({"exclusion": "label"}, '"id" or "slot"'),
        ({"fill": "zeros"}, '"gradual" or "sampled"'),
        ({"dtype": "float16"}, '"float32" or "bfloat16"'),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        XBMMemory(**{"capacity": 7, "embed_dim": 4, **options})


def test_every_parameter_is_kept_as_the_attribute_of_its_name() -> None:
    options = {
        "capacity": 5,
        "embed_dim": 3,
        "batch_weight": 0.5,
        "memory_weight": 2.0,
        "start_step": 4,
        "exclusion": "slot",
        "fill": "sampled",
        "unit": False,
        "dtype": "bfloat16",
    }
    memory = XBMMemory(**options)  # type: ignore[arg-type]
    assert {name: getattr(memory, name) for name in options} == options


def test_a_bad_row_is_named_with_its_number_and_its_image() -> None:
    batch = numbered(3, first=40)
    batch.vectors[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"row 1 \(id 41\).*not finite"):
        make().push(batch)


def test_a_batch_that_cannot_fit_says_what_to_change() -> None:
    with pytest.raises(ValueError, match=r"9 rows.*capacity 7.*set capacity to 9 or more, or lower batch_size"):
        make().push(numbered(9))


def test_a_row_without_unit_length_is_refused_with_the_way_out() -> None:
    batch = numbered(3)
    batch.vectors[2] *= 1.01
    with pytest.raises(ValueError, match=r"row 2 \(id 2\).*length 1\.01.*unit=False"):
        make().push(batch)
    loose = make(unit=False)
    loose.push(batch)
    assert not loose.read().unit
    assert torch.equal(loose.read().vectors, batch.vectors)
    assert make().read().unit


def test_a_wrong_head_shows_at_the_first_step_of_the_warm_up() -> None:
    batch = numbered(3)
    with pytest.raises(ValueError, match="unit=False"):
        make(start_step=1000).align(Embedded(batch.vectors * 3, batch.labels, batch.ids))
    with pytest.raises(ValueError, match=r"5 dimensions.*embed_dim=4"):
        make(start_step=1000).align(numbered(3, width=5))


def test_pushing_before_any_align_in_warm_up_is_loud() -> None:
    with pytest.raises(RuntimeError, match="align"):
        make(start_step=5).push(numbered(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_normalised_in_half_precision_count_as_unit(dtype: torch.dtype) -> None:
    rows = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    memory = XBMMemory(64, embed_dim=128, start_step=0)
    memory.push(Embedded(nn.functional.normalize(rows, dim=1), torch.arange(64), torch.arange(64)))
    assert memory.read().vectors.dtype == torch.float32
    assert len(memory) == 64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_batches_made_under_autocast_leave_the_memory_in_its_own_dtype(dtype: torch.dtype) -> None:
    memory, layer = make(), nn.Linear(6, 4)
    with torch.autocast("cpu", dtype=dtype):
        vectors = nn.functional.normalize(layer(torch.ones(3, 6)), dim=1)
        batch = Embedded(vectors.to(dtype), torch.arange(3), torch.arange(3))
        memory.align(batch)
        memory.push(batch)
        assert memory.read().vectors.dtype == torch.float32
    assert not memory.read().vectors.requires_grad


def test_bfloat16_rows_take_half_the_room() -> None:
    memory = make(dtype="bfloat16")
    memory.push(numbered(3))
    assert memory.read().vectors.dtype == torch.bfloat16
    assert memory.emb.element_size() == 2


def test_reading_copies_nothing() -> None:
    memory = make()
    memory.push(numbered(3))
    assert memory.read().vectors.data_ptr() == memory.emb.data_ptr()
    assert memory.read().labels.data_ptr() == memory.label.data_ptr()


def test_a_backward_pass_after_a_push_fails_instead_of_using_changed_rows() -> None:
    memory, anchors = make(), numbered(2).vectors.requires_grad_()
    memory.push(numbered(7))
    loss = (anchors @ memory.read().vectors.T).sum()
    memory.push(numbered(3, first=50))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_casting_neither_rounds_the_rows_nor_moves_the_counters() -> None:
    memory = make()
    memory.push(numbered(3))
    before = memory.emb.clone()
    memory.half().to(torch.bfloat16).double()
    assert memory.emb.dtype == torch.float32
    assert torch.equal(memory.emb, before)
    assert len(memory) == 3
    assert len(memory.to("meta").read()) == 3
    assert memory.emb.device.type == "meta"
    assert memory.count.device.type == "cpu"


def test_exclusion_by_slot_hides_the_ids_of_stale_rows_only() -> None:
    memory = make(exclusion="slot")
    memory.push(numbered(3, first=10))
    assert memory.read().ids.tolist() == [10, 11, 12]
    memory.push(numbered(3, first=20))
    assert memory.read().ids.tolist() == [-1, -2, -3, 20, 21, 22]
    memory.push(numbered(3, first=10))  # slots 6, 0, 1
    assert memory.read().ids.tolist() == [11, 12, -3, -4, -5, -6, 10]
    assert make(exclusion="id").read().ids.tolist() == []


def test_ages_count_optimiser_steps_since_each_row_was_written() -> None:
    memory = make()
    for first in (0, 3, 6):
        memory.align(numbered(3))
        memory.push(numbered(3, first))
    assert memory.ages().tolist() == [0, 0, 2, 1, 1, 1, 0]
    memory.align(numbered(3))
    assert memory.ages().tolist() == [1, 1, 3, 2, 2, 2, 1]


def test_a_sampled_fill_is_asked_for_once_when_the_warm_up_is_over() -> None:
    memory = make(fill="sampled", start_step=2)
    asked = []
    for step in range(4):
        memory.align(numbered(3))
        asked.append(memory.wanted())
        for first in range(0, memory.wanted(), 4):  # in pieces; the last one smaller
            memory.push(numbered(min(4, 7 - first), first=100 + first))
        assert len(memory) == (0 if step < 2 else 7)
        memory.push(numbered(3))
    assert asked == [0, 0, 7, 0]
    assert make().wanted() == 0


def test_a_fill_smaller_than_the_memory_is_not_asked_for_again() -> None:
    memory = make(fill="sampled")
    assert memory.wanted() == 7
    memory.push(numbered(2))
    assert memory.wanted() == 0


def test_the_state_of_another_memory_is_refused_with_both_sizes() -> None:
    parent = nn.ModuleDict({"memory": make(9)})
    with pytest.raises(ModelError, match=r"\(9, 4\).*\(7, 4\)"):
        nn.ModuleDict({"memory": make(7)}).load_state_dict(parent.state_dict())
    damaged = {**make().state_dict(), "count": torch.tensor(8)}
    with pytest.raises(ModelError, match="8 filled slots of 7"):
        make().load_state_dict(damaged)
    with pytest.raises(RuntimeError, match="sample_id"):
        make().load_state_dict({k: v for k, v in make().state_dict().items() if k != "sample_id"})


def test_the_state_is_complete_and_named() -> None:
    assert set(make().state_dict()) == {
        *("emb", "label", "sample_id", "step_inserted"),
        *("write_pos", "count", "latest", "step"),
    }
    assert "0 of 7 x 4 float32, step 0" in repr(make())


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 9), max_size=8),
    saved_after=st.integers(0, 8),
    exclusion=st.sampled_from(["id", "slot"]),
)
def test_any_history_leaves_the_latest_rows(capacity: int, sizes: list[int], saved_after: int, exclusion: str) -> None:
    memory = make(capacity, exclusion=exclusion)
    pushed = [numbered(0)]
    for turn, size in enumerate(min(size, capacity) for size in sizes):
        if turn == saved_after:
            other = make(capacity, exclusion=exclusion)
            other.load_state_dict({k: v.clone() for k, v in memory.state_dict().items()})
            memory = other
        pushed.append(numbered(size, first=10 * turn))
        memory.push(pushed[-1])
        read, expected = memory.read(), joined(pushed, keep=capacity)
        assert same_rows(read, expected, tolerance=0)
        true = {int(label): int(label) for label in pushed[-1].labels}
        for label, found in zip(read.labels.tolist(), read.ids.tolist(), strict=True):
            assert found == (label if exclusion == "id" or label in true else found)
            assert found == label or found < 0

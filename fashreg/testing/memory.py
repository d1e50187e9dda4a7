"""The contract of a memory: what every one promises, whatever it does to its rows in align."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fashreg.testing.rows import joined, numbered, same_rows, unit_rows
from fashreg.values import Embedded

SIZES = (3, 2, 4, 1, 7, 4, 5, 7, 7, 1, 6)  # ragged pushes: mid-fill, the wrap, an exact end, the whole ring at once
LARGE = torch.tensor([2**24 + 1, 2**53 + 1, 2**62 + 3])  # integers that float32 and float64 cannot hold


def started(memory: Any) -> Any:
    """The memory after its warm-up and the align of its first working step."""
    batches = [numbered(3, first=900 + i) for i in range(5)]
    for step in range(memory.start_step + 1):
        memory.align(batches[step % 5])
    return memory


def filled(memory: Any, rows: int, label: int | None = None) -> Any:
    """A started memory into which rows 0, 1, ... were pushed, three at a time."""
    started(memory)
    for first in range(0, rows, 3):
        memory.push(numbered(min(3, rows - first), first, label=label))
    return memory


def same_read(one: Any, other: Any) -> bool:
    """True when two memories read the same rows, bit for bit and in the same order."""
    a, b = one.read(), other.read()
    pairs = ((a.vectors, b.vectors), (a.labels, b.labels), (a.ids, b.ids))
    return a.unit == b.unit and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def walk_alike(one: Any, other: Any) -> bool:
    """Take the same steps with both memories; True when they read the same before, within and after every step."""
    alike = same_read(one, other)
    for turn, size in enumerate(SIZES):
        for memory in (one, other):
            memory.align(numbered(3, first=500 + turn))
        alike = alike and same_read(one, other)
        for memory in (one, other):
            memory.push(numbered(size, first=600 + 10 * turn))
    return alike and same_read(one, other)


def saved(memory: Any) -> dict[str, torch.Tensor]:
    """A copy of the state, as a checkpoint holds it."""
    return {name: tensor.clone() for name, tensor in memory.state_dict().items()}


class MemoryContract:
    """Override `memory` with a fresh one of capacity 7 and embed_dim 4; its warm-up may be of any length.

    tolerance: how far a row read back, with no align in between, may lie from the row that was pushed.
    """

    tolerance = 1e-4

    @pytest.fixture
    def memory(self) -> Any:
        """A fresh memory: capacity 7, embed_dim 4."""
        raise NotImplementedError("override the fixture `memory`")

    def test_the_memory_keeps_its_options_and_offers_nothing_to_train(self, memory: Any) -> None:
        assert (memory.capacity, memory.embed_dim) == (7, 4), "the suite is written for capacity 7 and embed_dim 4"
        assert min(memory.batch_weight, memory.memory_weight) >= 0
        assert isinstance(memory.start_step, int)
        assert memory.start_step >= 0
        assert not list(memory.parameters())

    def test_a_new_memory_is_empty_and_readable_even_after_align(self, memory: Any) -> None:
        for _ in range(2):
            assert len(memory) == len(memory.read()) == 0
            assert memory.read().vectors.shape == (0, 4)
            memory.align(numbered(3))

    def test_warm_up_neither_fills_nor_shows_anything(self, memory: Any) -> None:
        batch = numbered(3)
        for _ in range(memory.start_step):
            memory.align(batch)
            memory.push(batch)
            assert len(memory) == len(memory.read()) == 0
        memory.align(numbered(3))
        memory.push(numbered(3))
        assert len(memory) == len(memory.read()) == 3

    def test_memory_never_returns_empty_slots(self, memory: Any) -> None:
        filled(memory, 3)
        assert len(memory) == 3
        assert same_rows(memory.read(), numbered(3), self.tolerance)

    def test_label_zero_counts_like_any_other(self, memory: Any) -> None:
        filled(memory, 9, label=0)
        assert len(memory) == len(memory.read()) == 7
        assert memory.read().labels.tolist() == [0] * 7

    def test_the_oldest_rows_leave_first_whatever_the_batch_sizes(self, memory: Any) -> None:
        started(memory)
        pushed: list[Embedded] = []
        for turn, size in enumerate(SIZES):
            pushed.append(numbered(size, first=10 * turn))
            memory.push(pushed[-1])
            assert len(memory) == min(7, sum(SIZES[: turn + 1]))
            assert same_rows(memory.read(), joined(pushed, keep=7), self.tolerance), f"after {SIZES[: turn + 1]} rows"

    @pytest.mark.parametrize("shape", [(8, 4), (3, 5)])
    def test_a_batch_that_does_not_fit_is_refused_with_both_numbers(self, memory: Any, shape: tuple[int, int]) -> None:
        before = copy.deepcopy(filled(memory, 5))
        with pytest.raises(ValueError, match=r"(?s)(?=.*\b8\b)(?=.*\b7\b)|(?=.*\b5\b)(?=.*\b4\b)"):
            memory.push(numbered(shape[0], first=50, width=shape[1]))
        assert same_read(memory, before)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_row_that_is_not_finite_is_refused_by_number(self, memory: Any, bad: float) -> None:
        before = copy.deepcopy(filled(memory, 5))
        batch = numbered(3, first=70)
        batch.vectors[2, 1] = bad
        with pytest.raises(ValueError, match=r"\b2\b"):
            memory.push(batch)
        assert same_read(memory, before)

    def test_an_empty_batch_stores_nothing(self, memory: Any) -> None:
        filled(memory, 5).push(numbered(0))
        assert len(memory) == 5
        assert same_rows(memory.read(), numbered(5), self.tolerance)

    def test_no_gradient_comes_out_of_the_memory_or_goes_into_it(self, memory: Any) -> None:
        rows, anchors = unit_rows(3).requires_grad_(), unit_rows(2, seed=1).requires_grad_()
        started(memory).push(Embedded(rows * 1.0, torch.arange(3), torch.arange(3)))
        memory.align(Embedded(anchors, torch.arange(2), torch.arange(2)))
        read = memory.read()
        assert not read.vectors.requires_grad
        (anchors @ read.vectors.to(anchors.dtype).T).sum().backward()
        assert rows.grad is None
        assert anchors.grad is not None

    def test_changing_the_pushed_tensors_later_changes_no_memory(self, memory: Any) -> None:
        batch = numbered(3)
        started(memory).push(batch)
        for tensor in (batch.vectors, batch.labels, batch.ids):
            tensor.fill_(9)
        assert same_rows(memory.read(), numbered(3), self.tolerance)
        assert memory.read().ids.tolist() == [0, 1, 2]

    def test_a_later_push_never_bends_a_gradient_unnoticed(self, memory: Any) -> None:
        filled(memory, 7)
        anchors = unit_rows(2, seed=1).requires_grad_()
        references = memory.read().vectors.to(anchors.dtype)
        right = references.clone().sum(dim=0).expand(2, 4)
        loss = (anchors @ references.T).sum()
        memory.push(numbered(5, first=40))
        try:
            loss.backward()
        except RuntimeError:
            return  # torch noticed: a loud failure is right, too
        assert anchors.grad is not None
        assert torch.allclose(anchors.grad, right, atol=1e-6)

    def test_rows_just_pushed_carry_their_ids_and_stale_ones_theirs_or_none(self, memory: Any) -> None:
        started(memory)
        for turn, first in enumerate((0, 3, 0)):  # images 0, 1 and 2 come back
            memory.push(Embedded(unit_rows(3, seed=turn), torch.arange(3) + 10 * turn, torch.arange(first, first + 3)))
        true = {2: 2, 10: 3, 11: 4, 12: 5, 20: 0, 21: 1, 22: 2}
        for label, found in zip(memory.read().labels.tolist(), memory.read().ids.tolist(), strict=True):
            assert found == true[label] or (found < 0 and label < 20), "the latest push keeps its ids"

    def test_rows_without_identity_never_gain_one(self, memory: Any) -> None:
        started(memory).push(Embedded(unit_rows(3), torch.arange(3), torch.tensor([-1, -1, -5])))
        assert bool((memory.read().ids < 0).all())

    def test_large_labels_and_ids_stay_exact_even_when_the_module_is_cast(self, memory: Any) -> None:
        started(memory).push(Embedded(unit_rows(3), LARGE, LARGE + 1))
        for dtype in (torch.float32, torch.bfloat16, torch.float32):
            memory.to(dtype)
            assert memory.read().labels.dtype == memory.read().ids.dtype == torch.int64
            assert memory.read().labels.tolist() == LARGE.tolist()
            assert memory.read().ids.tolist() == (LARGE + 1).tolist()
        memory.align(numbered(3))
        memory.push(numbered(6, first=20))
        assert sorted(memory.read().labels.tolist()) == [*range(20, 26), int(LARGE[2])]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_batches_of_any_precision_are_taken_and_change_no_dtype(self, memory: Any, dtype: torch.dtype) -> None:
        kept = filled(memory, 3).read().vectors.dtype
        batch = numbered(3, first=3)
        memory.push(Embedded(batch.vectors.to(dtype), batch.labels, batch.ids))
        assert memory.read().vectors.dtype == kept
        assert same_rows(memory.read(), numbered(6), max(self.tolerance, 4 * torch.finfo(dtype).eps))
        memory.align(Embedded(batch.vectors.to(dtype), batch.labels, batch.ids))
        assert memory.read().vectors.dtype == kept
        assert bool(torch.isfinite(memory.read().vectors).all())

    def test_reading_changes_nothing(self, memory: Any) -> None:
        untouched = copy.deepcopy(filled(memory, 5))
        memory.read(), memory.read()
        assert walk_alike(memory, untouched)

    @pytest.mark.parametrize("rows", [0, 3, 7, 9, 20])
    def test_a_saved_memory_goes_on_bit_for_bit(self, memory: Any, rows: int) -> None:
        fresh = copy.deepcopy(memory)
        fresh.load_state_dict(saved(filled(memory, rows)))
        assert len(fresh) == len(memory)
        assert walk_alike(fresh, memory)

    def test_a_memory_saved_in_warm_up_goes_on_counting(self, memory: Any) -> None:
        fresh, batch = copy.deepcopy(memory), numbered(3)
        for _ in range(memory.start_step // 2):
            memory.align(batch)
        fresh.load_state_dict(saved(memory))
        for _ in range(memory.start_step - memory.start_step // 2 + 1):
            assert len(fresh) == 0
            fresh.align(batch)
            fresh.push(batch)
        assert len(fresh) == 3

    def test_the_state_of_another_capacity_is_refused(self, memory: Any) -> None:
        before = copy.deepcopy(filled(memory, 5))
        state = {name: tensor[:-1] if tensor.shape[:1] == (7,) else tensor for name, tensor in saved(memory).items()}
        with pytest.raises((ValueError, RuntimeError)):
            memory.load_state_dict(state)
        assert same_read(memory, before)

    def test_reset_makes_the_memory_as_new(self, memory: Any) -> None:
        fresh = copy.deepcopy(memory)
        filled(memory, 9).reset()
        assert len(memory.read()) == 0
        assert walk_alike(memory, fresh)
        assert walk_alike(started(memory), started(fresh))

    def test_a_copy_lives_its_own_life(self, memory: Any) -> None:
        twin, before = copy.deepcopy(filled(memory, 5)), joined([memory.read()])
        twin.align(numbered(3, first=80))
        twin.push(numbered(3, first=80))
        assert same_rows(memory.read(), before, tolerance=0)

    def test_equal_input_gives_equal_memories_and_no_global_random_state_moves(self, memory: Any) -> None:
        twin = copy.deepcopy(memory)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        filled(memory, 9)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert walk_alike(filled(twin, 9), memory)

"""Seeded faults: memories that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor, nn

from fashreg.memories.xbm import XBMMemory
from fashreg.testing.memory import MemoryContract
from fashreg.values import Embedded


class Sound(XBMMemory):
    """The memory that every fault below is seeded into."""

    def __init__(self) -> None:
        super().__init__(capacity=7, embed_dim=4, start_step=2)


class LabelZeroMeansEmpty(Sound):
    """Fullness is read off the last label, as in the authors' code."""

    def __len__(self) -> int:
        return self.capacity if int(self.label[-1]) != 0 else min(int(self.write_pos), int(self.count))


class NoRing(Sound):
    """At the end of the queue the last rows are used again, as in the authors' code."""

    def push(self, batch: Embedded) -> None:
        if len(batch) <= self.capacity < int(self.write_pos) + len(batch):
            self.write_pos.fill_(self.capacity - len(batch))
        super().push(batch)


class PointerAsAttribute(Sound):
    """Pointer and fill count are no buffers, so a checkpoint loses them."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        state = super().state_dict(*args, **kwargs)
        return {name: torch.zeros_like(t) if name in {"write_pos", "count"} else t for name, t in state.items()}


class ForgetsTheWarmUp(Sound):
    """The step count is not saved."""

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict({**state_dict, "step": torch.tensor(0)}, *args, **kwargs)


class ShowsEmptySlots(Sound):
    """All slots are read, filled or not."""

    def read(self) -> Embedded:
        return Embedded(self.emb, self.label, self.sample_id, unit=True) if len(self) else super().read()


class FillsInWarmUp(Sound):
    """The warm-up is ignored by push."""

    def _started(self) -> bool:
        return True


class KeepsTheGraph(Sound):
    """What read() gives is still attached to the pushed batch."""

    def push(self, batch: Embedded) -> None:
        super().push(batch)
        self.alive = batch.vectors.sum() * 0 if self._started() else torch.zeros(())

    def read(self) -> Embedded:
        read = super().read()
        return replace(read, vectors=read.vectors + getattr(self, "alive", torch.zeros(())))


class KeepsTheCallersTensor(Sound):
    """The latest batch is kept by reference."""

    def push(self, batch: Embedded) -> None:
        super().push(batch)
        self.held = batch

    def read(self) -> Embedded:
        read = super().read()
        held = getattr(self, "held", None)
        if held is None or len(read) != len(held):
            return read
        return Embedded(held.vectors.detach().to(read.vectors.dtype), held.labels, held.ids, unit=True)


class LabelsAsFloats(Sound):
    """Labels pass through float32."""

    def push(self, batch: Embedded) -> None:
        super().push(replace(batch, labels=batch.labels.float().long()))


class DtypeOfTheBatch(Sound):
    """The rows take the dtype of whatever was pushed last."""

    def push(self, batch: Embedded) -> None:
        super().push(batch)
        self.emb = self.emb.to(batch.vectors.dtype)


class TakesNaN(Sound):
    """Rows that are not finite are stored."""

    def push(self, batch: Embedded) -> None:
        bad = ~torch.isfinite(batch.vectors).all(dim=1, keepdim=True)
        super().push(replace(batch, vectors=torch.where(bad, torch.tensor([1.0, 0.0, 0.0, 0.0]), batch.vectors)))


class CutsLargeBatches(Sound):
    """Of a batch larger than the memory, the last rows are taken without a word."""

    def push(self, batch: Embedded) -> None:
        super().push(Embedded(batch.vectors[-7:], batch.labels[-7:], batch.ids[-7:]))


class StoresBeforeItRefuses(Sound):
    """The count moves although the batch is refused."""

    def push(self, batch: Embedded) -> None:
        self.count.fill_(min(int(self.count) + len(batch), 7) if self._started() else 0)
        self._storable(batch)
        self.count.fill_(max(int(self.count) - len(batch), 0) if int(self.count) < 7 else 7 - len(batch))
        super().push(batch)


class SlotsForIds(Sound):
    """Ids are slot numbers: they collide with images' ids."""

    def read(self) -> Embedded:
        read = super().read()
        return replace(read, ids=torch.arange(len(read)))


class ResetKeepsTheRows(Sound):
    """Only the step count is forgotten."""

    def reset(self) -> None:
        self.step.zero_()


class ResetKeepsTheStep(Sound):
    """The warm-up is not begun again."""

    def reset(self) -> None:
        step = int(self.step)
        super().reset()
        self.step.fill_(step)


class ReadingMoves(Sound):
    """Reading turns the ring."""

    def read(self) -> Embedded:
        read = super().read()
        self.write_pos.fill_((int(self.write_pos) + 1) % self.capacity)
        return read


class SharedBetweenMemories(Sound):
    """The rows live in the class, so that copies write to one another."""

    rows = torch.zeros(7, 4)

    def push(self, batch: Embedded) -> None:
        super().push(batch)
        self.rows.copy_(self.emb)

    def read(self) -> Embedded:
        return replace(super().read(), vectors=self.rows[: len(self)].clone())


class DropsAtRandom(Sound):
    """A random row of each batch is blurred, by the global generator."""

    def push(self, batch: Embedded) -> None:
        noise = torch.randn_like(batch.vectors) * 1e-6
        super().push(replace(batch, vectors=batch.vectors + noise))


class TrainsItsRows(Sound):
    """The rows are a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(7, 4))


class GrowsToFit(Sound):
    """A state of another capacity is taken as it is."""

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        for name, value in state_dict.items():
            setattr(self, name, value)


class SwapsIdsOfRows(Sound):
    """Ids and rows are written in different orders."""

    def push(self, batch: Embedded) -> None:
        super().push(replace(batch, ids=batch.ids.flip(0)))


class SwapsRows(Sound):
    """Vectors and labels are written in different orders."""

    def push(self, batch: Embedded) -> None:
        super().push(replace(batch, vectors=batch.vectors.flip(0)))


class CorruptsQuietly(Sound):
    """Rows are overwritten behind autograd's back."""

    def push(self, batch: Embedded) -> None:
        held, self.emb = self.emb, self.emb.clone()
        super().push(batch)
        held.data.copy_(self.emb)
        self.emb = held


FAULTS: dict[type[Sound], str] = {
    LabelZeroMeansEmpty: "test_label_zero_counts_like_any_other",
    NoRing: "test_the_oldest_rows_leave_first_whatever_the_batch_sizes",
    PointerAsAttribute: "test_a_saved_memory_goes_on_bit_for_bit",
    ForgetsTheWarmUp: "test_a_memory_saved_in_warm_up_goes_on_counting",
    ShowsEmptySlots: "test_memory_never_returns_empty_slots",
    FillsInWarmUp: "test_warm_up_neither_fills_nor_shows_anything",
    KeepsTheGraph: "test_no_gradient_comes_out_of_the_memory_or_goes_into_it",
    KeepsTheCallersTensor: "test_changing_the_pushed_tensors_later_changes_no_memory",
    LabelsAsFloats: "test_large_labels_and_ids_stay_exact_even_when_the_module_is_cast",
    DtypeOfTheBatch: "test_batches_of_any_precision_are_taken_and_change_no_dtype",
    TakesNaN: "test_a_row_that_is_not_finite_is_refused_by_number",
    CutsLargeBatches: "test_a_batch_that_does_not_fit_is_refused_with_both_numbers",
    StoresBeforeItRefuses: "test_a_batch_that_does_not_fit_is_refused_with_both_numbers",
    SlotsForIds: "test_rows_just_pushed_carry_their_ids_and_stale_ones_theirs_or_none",
    ResetKeepsTheRows: "test_reset_makes_the_memory_as_new",
    ResetKeepsTheStep: "test_reset_makes_the_memory_as_new",
    ReadingMoves: "test_reading_changes_nothing",
    SharedBetweenMemories: "test_a_copy_lives_its_own_life",
    DropsAtRandom: "test_equal_input_gives_equal_memories_and_no_global_random_state_moves",
    TrainsItsRows: "test_the_memory_keeps_its_options_and_offers_nothing_to_train",
    GrowsToFit: "test_the_state_of_another_capacity_is_refused",
    SwapsIdsOfRows: "test_rows_just_pushed_carry_their_ids_and_stale_ones_theirs_or_none",
    SwapsRows: "test_memory_never_returns_empty_slots",
    CorruptsQuietly: "test_a_later_push_never_bends_a_gradient_unnoticed",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type[Sound]) -> None:
    assert FAULTS[fault] in failing_tests(MemoryContract, "memory", fault)


def test_the_contract_finds_nothing_wrong_with_the_memory_the_faults_were_seeded_into() -> None:
    assert failing_tests(MemoryContract, "memory", Sound) == set()

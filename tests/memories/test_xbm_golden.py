"""The golden checks M1 to M10 of cross-batch memory, on vectors at 0, 20, 50 and 110 degrees worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plain_losses import contrastive, multi_similarity
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fashreg.memories.xbm import XBMMemory
from fashreg.testing.rows import joined, numbered, unit_rows
from fashreg.values import Embedded

Loss = Callable[..., Tensor]
LOSSES = pytest.mark.parametrize("loss", [contrastive, multi_similarity])


def toy(requires_grad: bool = False) -> Embedded:
    """Labels 0, 0, 1, 1. Cosines: 12 0.940, 13 0.643, 14 -0.342, 23 0.866, 24 0, 34 0.5."""
    angles = torch.tensor([0.0, 20.0, 50.0, 110.0], dtype=torch.float64) * math.pi / 180
    vectors = torch.stack((angles.cos(), angles.sin()), dim=1).float().double()  # values that a memory can hold
    return Embedded(vectors.requires_grad_(requires_grad), torch.tensor([0, 0, 1, 1]), torch.arange(4))


def memory_of(*batches: Embedded, **options: object) -> XBMMemory:
    width = batches[0].vectors.shape[1]
    memory = XBMMemory(sum(map(len, batches)), embed_dim=width, start_step=0, **options)  # type: ignore[arg-type]
    for batch in batches:
        memory.push(batch)
    return memory


def test_the_plain_losses_have_the_values_worked_out_by_hand() -> None:  # M1, M2
    assert float(contrastive(toy())) == pytest.approx(1.034560196, abs=1e-7)
    assert float(multi_similarity(toy())) == pytest.approx(0.478789528, abs=1e-7)
    assert float(multi_similarity(toy(), beta=40.0)) == pytest.approx(0.478806965, abs=1e-7)


@LOSSES
def test_a_memory_that_is_the_batch_gives_the_plain_loss(loss: Loss) -> None:  # M3
    assert float(loss(toy(), memory_of(toy()).read())) == pytest.approx(float(loss(toy())), abs=1e-6)


def test_a_memory_that_is_the_batch_gives_half_the_gradient_of_a_symmetric_loss() -> None:  # M3
    plain, against = toy(requires_grad=True), toy(requires_grad=True)
    contrastive(plain).backward()
    contrastive(against, memory_of(toy()).read()).backward()
    assert plain.vectors.grad is not None
    assert against.vectors.grad is not None
    assert torch.allclose(against.vectors.grad, plain.vectors.grad / 2, atol=1e-9)
    assert plain.vectors.grad[0].tolist() == pytest.approx([-0.148452506, 0.212012150], abs=1e-7)
    assert against.vectors.grad[0].tolist() == pytest.approx([-0.074226253, 0.106006075], abs=1e-7)


class Run:
    """A tiny training run: one linear layer on fixed pictures, in the order of the house or with the push first."""

    def __init__(self, memory: XBMMemory | None, *, push_first: bool = False, rate: float = 0.1) -> None:
        self.memory, self.push_first = memory, push_first
        self.pictures = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
        self.layer = nn.Linear(5, 4)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(4, 5, generator=torch.Generator().manual_seed(1)))
            self.layer.bias.zero_()
        self.optimiser = torch.optim.SGD(self.layer.parameters(), lr=rate)
        self.turn = 0

    def batch(self) -> Embedded:
        ids = (torch.arange(4) + 4 * self.turn) % 12
        vectors = nn.functional.normalize(self.layer(self.pictures[ids]), dim=1)
        return Embedded(vectors, ids % 3, ids)

    def step(self) -> tuple[float, int]:
        """One step: the loss, and how many remembered rows it saw."""
        batch, memory, seen = self.batch(), self.memory, 0
        if memory is None:
            loss = contrastive(batch)
        else:
            memory.align(batch)
            for first in range(0, min(memory.wanted(), 12), 4):
                ids = torch.arange(first, first + 4)
                with torch.no_grad():
                    rows = nn.functional.normalize(self.layer(self.pictures[ids]), dim=1)
                memory.push(Embedded(rows, ids % 3, ids))
            if self.push_first:
                memory.push(batch)
            loss = memory.batch_weight * contrastive(batch)
            seen = len(memory.read())
            if seen:
                loss = loss + memory.memory_weight * contrastive(batch, memory.read())
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if memory is not None and not self.push_first:
            memory.push(batch)
        self.turn += 1
        return loss.item(), seen


@pytest.mark.parametrize(
    ("push_first", "fill", "first_use"), [(False, "gradual", 5), (True, "gradual", 4), (False, "sampled", 4)]
)
def test_warm_up_is_bit_identical_to_no_memory(push_first: bool, fill: str, first_use: int) -> None:  # M4
    memory = XBMMemory(12, embed_dim=4, start_step=3, fill=fill)  # type: ignore[arg-type]
    run, without = Run(memory, push_first=push_first), Run(None)
    for step in range(1, 7):
        (loss, seen), (plain, _) = run.step(), without.step()
        if step < first_use:
            assert (loss, seen) == (plain, 0)
        if step <= 3:
            assert len(memory) == 0
        if step == first_use:
            assert loss != plain
            assert seen == (12 if fill == "sampled" else 4)


def test_the_ring_is_where_arithmetic_says() -> None:  # M5
    memory = XBMMemory(321, embed_dim=4, start_step=0)
    for k in range(30):
        memory.push(numbered(32, first=32 * k))
        pushed = 32 * (k + 1)
        assert int(memory.write_pos) == pushed % 321
        assert len(memory) == min(pushed, 321)
        slots = torch.arange(max(0, pushed - 321), pushed)  # insertion i lies in slot i mod M
        expected = torch.empty(len(memory), dtype=torch.int64)
        expected[slots % 321] = slots
        assert torch.equal(memory.read().ids, expected)


def test_label_zero_everywhere_fills_the_memory() -> None:  # M6
    memory = XBMMemory(8, embed_dim=4, start_step=0)
    for first in (0, 4, 8):
        memory.push(numbered(4, first, label=0))
    assert len(memory) == len(memory.read()) == 8


def test_memory_weight_zero_trains_as_without_a_memory() -> None:  # M7
    run, without = Run(XBMMemory(12, embed_dim=4, start_step=0, memory_weight=0.0)), Run(None)
    assert [run.step()[0] for _ in range(5)] == [without.step()[0] for _ in range(5)]


@LOSSES
@pytest.mark.parametrize("passes", [1, 2])
def test_with_a_frozen_network_the_memory_is_the_data_set(loss: Loss, passes: int) -> None:  # M7
    data = numbered(20, label=None)
    data = Embedded(data.vectors, data.labels % 5, data.ids)
    memory = XBMMemory(20, embed_dim=4, start_step=0)
    batches = [Embedded(data.vectors[i::4], data.labels[i::4], data.ids[i::4]) for i in range(4)]
    for batch in batches * passes:
        memory.push(batch)
    for batch in batches:
        assert float(loss(batch, memory.read())) == pytest.approx(float(loss(batch, data)), abs=1e-5)


@LOSSES
def test_the_order_of_remembered_rows_does_not_matter(loss: Loss) -> None:  # M8
    data = numbered(12)
    read = memory_of(Embedded(data.vectors, data.labels % 3, data.ids)).read()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    turned = Embedded(read.vectors[order], read.labels[order], read.ids[order])
    batch = Embedded(unit_rows(4, seed=9), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    assert float(loss(batch, turned)) == pytest.approx(float(loss(batch, read)), abs=1e-6)


@pytest.mark.parametrize("exclusion", ["id", "slot"])
def test_a_batch_remembered_twice_adds_exactly_its_pairs(exclusion: str) -> None:  # M8
    once = contrastive(toy())
    twice = contrastive(toy(), memory_of(toy(), toy(), exclusion=exclusion).read())
    # By slot the stale copy of the anchor itself is a positive of similarity 1, which costs 1 - 1 = 0.
    assert float(twice) == pytest.approx(2 * float(once), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("exclusion", ["id", "slot"])
def test_in_half_precision_the_self_pair_never_counts(dtype: torch.dtype, exclusion: str) -> None:  # M9
    raw = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    vectors = nn.functional.normalize(raw.to(dtype), dim=1)
    batch = Embedded(vectors, torch.arange(16) // 2, torch.arange(16))
    read = memory_of(batch, exclusion=exclusion).read()
    itself = (vectors * read.vectors.to(dtype)).sum(dim=1)
    assert bool((itself < 1 - 1e-5).any()), "the test by similarity lets some self pairs through"
    assert torch.equal(read.ids, batch.ids), "the test by id lets none"


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_resumed_run_has_the_same_next_losses_bit_for_bit(after: int, tmp_path: Path) -> None:  # M10
    first = Run(XBMMemory(10, embed_dim=4, start_step=2))
    for _ in range(after):
        first.step()
    assert first.memory is not None
    save_file(first.memory.state_dict(), tmp_path / "memory.safetensors")
    second = Run(XBMMemory(10, embed_dim=4, start_step=2))
    assert second.memory is not None
    second.memory.load_state_dict(load_file(tmp_path / "memory.safetensors"))
    second.layer.load_state_dict(first.layer.state_dict())
    second.turn = first.turn
    assert [first.step() for _ in range(4)] == [second.step() for _ in range(4)]


def test_pushing_first_gives_the_authors_total() -> None:  # M3: value 2 L, gradient 1.5 x
    plain, authors = toy(requires_grad=True), toy(requires_grad=True)
    loss = contrastive(plain)
    loss.backward()
    total = contrastive(authors) + contrastive(authors, memory_of(toy()).read())
    total.backward()
    assert total.item() == pytest.approx(2 * loss.item(), abs=1e-6)
    assert plain.vectors.grad is not None
    assert authors.vectors.grad is not None
    assert torch.allclose(authors.vectors.grad, 1.5 * plain.vectors.grad, atol=1e-6)


def test_joined_batches_and_a_memory_of_them_are_one_thing() -> None:
    batches = [numbered(3, first) for first in (0, 3, 6)]
    assert torch.equal(memory_of(*batches).read().vectors, joined(batches).vectors)

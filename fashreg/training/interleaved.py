"""Several sources as one: their batches come in turn, each with its own task. For joint training on many tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashreg.interfaces import Sampler
from fashreg.training.session import Source
from fashreg.values import TrainingBatch

Order = NDArray[np.int64]


class InterleavedSampler:
    """The samplers of several parts as one: batch n of an epoch is the next one of part `order()[n]`.

    An epoch has all batches of all parts, in an order shuffled by (seed, epoch), so each part comes in proportion to
    its length. Iterating gives the positions alone, which belong to the table of the part whose turn it is.
    """

    def __init__(self, samplers: Sequence[Sampler], seed: int = 0) -> None:
        if not samplers:
            raise ValueError("give at least one sampler")
        self.samplers, self.seed = list(samplers), seed
        self.epoch = self.batch = 0

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.samplers)

    def __iter__(self) -> Iterator[list[int]]:
        parts = [iter(sampler) for sampler in self.samplers]
        return (next(parts[place]) for place in self.order()[self.batch :])

    def order(self) -> Order:
        """(len,) whose turn it is, for every batch of the present epoch."""
        turns = np.repeat(np.arange(len(self.samplers)), [len(sampler) for sampler in self.samplers])
        return np.random.default_rng([self.seed, self.epoch, 7]).permutation(turns)

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of this epoch."""
        self.epoch, self.batch = int(epoch), 0
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def advance_to(self, batch: int) -> None:
        """Say that the first `batch` batches of the present epoch are done."""
        if not 0 <= batch <= len(self):
            raise ValueError(f"batch {batch} is not one of 0..{len(self)}, the batches of an epoch")
        self.batch = int(batch)
        done = np.bincount(self.order()[:batch], minlength=len(self.samplers))
        for sampler, count in zip(self.samplers, done.tolist(), strict=True):
            sampler.advance_to(count)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, and where each part stands."""
        parts = [sampler.state_dict() for sampler in self.samplers]
        return {"epoch": self.epoch, "batch": self.batch, "seed": self.seed, "parts": parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the recorded batch; a state of other parts or another seed is refused."""
        if len(state["parts"]) != len(self.samplers) or state["seed"] != self.seed:
            raise ValueError(
                f"the saved sampler had {len(state['parts'])} parts and seed {state['seed']}, this one "
                f"{len(self.samplers)} and {self.seed}: its batches cannot be continued"
            )
        for sampler, part in zip(self.samplers, state["parts"], strict=True):
            sampler.load_state_dict(part)
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])


class InterleavedSource:
    """The sources of several parts as one. See `fashreg.training.session.Source`.

    Every batch is whole as its part gives it, with its part's task. `sample` takes from the parts in proportion.
    """

    sampler: Sampler

    def __init__(self, parts: Sequence[Source], seed: int = 0) -> None:
        self.parts = list(parts)
        self._turns = InterleavedSampler([part.sampler for part in self.parts], seed)
        self.sampler = self._turns

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The epoch's batches from where the sampler stands."""
        turns = self._turns.order()[self._turns.batch :]
        coming = [part.batches(epoch) for part in self.parts]
        for place in turns:
            yield next(coming[place])

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """`count` random pictures in all, shared among the parts by their lengths; each part's own are different."""
        shares = np.diff(np.round(np.cumsum([0, *map(len, self.parts)]) / max(1, len(self)) * count)).astype(int)
        for part, share in zip(self.parts, shares.tolist(), strict=True):
            yield from part.sample(share)

"""Several sources as one: their batches come in turn, each with its own task. For joint training on many tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashreg.interfaces import Sampler
from fashreg.training.session import Source
from fashreg.values import TrainingBatch

Order = NDArray[np.int64]

#: How a learner orders the turns: (batches of each task, (seed, epoch)) -> whose turn it is, for every batch of the
#: epoch. A pure function; every epoch has the same number of turns.
Turns = Callable[[dict[str, int], tuple[int, int]], Sequence[str]]

_ROUND = 1_000_003  # between the epochs that a part counts when it goes round more than once in one epoch of the whole


class InterleavedSampler:
    """The samplers of several parts as one: batch n of an epoch is the next one of part `order()[n]`.

    By default an epoch has all batches of all parts, in an order shuffled by (seed, epoch), so each part comes in
    proportion to its length. Iterating gives the positions alone, which belong to the table of the part whose turn it
    is. names: of the parts, for `turns`, which orders them otherwise; a part with more turns than batches begins anew,
    with other batches than before, as often as it must.
    """

    def __init__(
        self, samplers: Sequence[Sampler], seed: int = 0, names: Sequence[str] = (), turns: Turns | None = None
    ) -> None:
        if not samplers:
            raise ValueError("give at least one sampler")
        if turns is not None and len(names) != len(samplers):
            raise ValueError(f"turns go by names, and there are {len(names)} names for {len(samplers)} samplers")
        self.samplers, self.seed, self.names, self.turns = list(samplers), seed, list(names), turns
        self.epoch = self.batch = 0
        self._orders: dict[int, Order] = {}
        self._length = len(self._order_of(0))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        parts = [self.rounds(place) for place in range(len(self.samplers))]
        coming = [itertools.chain.from_iterable(iter(sampler) for sampler, _ in part) for part in parts]
        return (next(coming[place]) for place in self.order()[self.batch :])

    def rounds(self, place: int) -> Iterator[tuple[Sampler, int]]:
        """A part's sampler and epoch, from where it stands: to be read to its end before the next one is asked for."""
        sampler, done = self.samplers[place], self._done[place]
        number = done // max(1, len(sampler))
        yield sampler, self._epoch_of(number)
        for later in itertools.count(number + 1):
            sampler.set_epoch(self._epoch_of(later))
            yield sampler, self._epoch_of(later)

    def order(self) -> Order:
        """(len,) whose turn it is, for every batch of the present epoch."""
        found = self._order_of(self.epoch)
        if len(found) != self._length:
            raise ValueError(f"epoch {self.epoch} has {len(found)} turns, and the first one had {self._length}")
        return found

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
        for sampler, done in zip(self.samplers, self._done, strict=True):
            number, within = divmod(done, max(1, len(sampler)))
            if number:
                sampler.set_epoch(self._epoch_of(number))
            sampler.advance_to(within)

    @property
    def _done(self) -> list[int]:
        """Batches of each part that are done in the present epoch."""
        return list(np.bincount(self.order()[: self.batch], minlength=len(self.samplers)).tolist())

    def _epoch_of(self, number: int) -> int:
        """The epoch that a part counts in its round `number` (from 0) of the present epoch."""
        return self.epoch + number * _ROUND

    def _order_of(self, epoch: int) -> Order:
        if epoch not in self._orders:
            self._orders = {epoch: self._made(epoch)}
        return self._orders[epoch]

    def _made(self, epoch: int) -> Order:
        lengths = [len(sampler) for sampler in self.samplers]
        if self.turns is None:
            turns = np.repeat(np.arange(len(lengths)), lengths)
            return np.random.default_rng([self.seed, epoch, 7]).permutation(turns)
        places = {name: place for place, name in enumerate(self.names)}
        told = list(self.turns(dict(zip(self.names, lengths, strict=True)), (self.seed, epoch)))
        strange = sorted({name for name in told if name not in places or not lengths[places[name]]})
        if strange:
            raise ValueError(f"turns names {', '.join(map(repr, strange))}; the tasks with batches are {places}")
        return np.array([places[name] for name in told], dtype=np.int64)

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

    Every batch is whole as its part gives it, with its part's task. `sample` takes from the parts in proportion. names,
    turns: as the sampler's.
    """

    sampler: Sampler

    def __init__(
        self, parts: Sequence[Source], seed: int = 0, names: Sequence[str] = (), turns: Turns | None = None
    ) -> None:
        self.parts = list(parts)
        self._turns = InterleavedSampler([part.sampler for part in self.parts], seed, names, turns)
        self.sampler = self._turns

    def __len__(self) -> int:
        return len(self.sampler)

    def batches(self, epoch: int) -> Iterator[TrainingBatch]:
        """The epoch's batches from where the sampler stands."""
        turns = self._turns.order()[self._turns.batch :]
        coming = [self._of(place) for place in range(len(self.parts))]
        for place in turns:
            yield next(coming[place])

    def _of(self, place: int) -> Iterator[TrainingBatch]:
        """A part's batches, round after round."""
        for _, epoch in self._turns.rounds(place):
            yield from self.parts[place].batches(epoch)

    def sample(self, count: int) -> Iterator[TrainingBatch]:
        """`count` random pictures in all, shared among the parts by their lengths; each part's own are different."""
        lengths = [len(part) for part in self.parts]
        shares = np.diff(np.round(np.cumsum([0, *lengths]) / max(1, sum(lengths)) * count)).astype(int)
        for part, share in zip(self.parts, shares.tolist(), strict=True):
            yield from part.sample(share)

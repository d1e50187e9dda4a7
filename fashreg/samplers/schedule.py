"""Which batch comes next, for which process: what every sampler of this room shares. See `EpochSchedule`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Positions = npt.NDArray[np.int64]
Batches = Sequence[Positions] | Positions
Labels = Sequence[int] | npt.NDArray[Any] | torch.Tensor


class EpochSchedule(ABC):
    """Global batches drawn whole from (seed, epoch), cut into equal contiguous shares, one a process.

    A sampler says how an epoch is drawn (`draw`) and how many batches it has (`__len__`); here is the rest: every rank
    draws the same global batch and yields rows rank * B/W .. (rank + 1) * B/W of it, so that gathering the shares in
    rank order gives the batch of one process back. Random numbers come from a generator of its own, made anew for each
    epoch: the global random state is neither read nor moved.

    Resume: loaders fetch ahead, so a sampler cannot know which batches were trained on. It never guesses: whoever
    trains says so with advance_to(batches), state_dict() holds that number, and iterating yields the batches after it.
    set_epoch(e) goes to the first batch of epoch e, so it is not called for an epoch that is being resumed.
    """

    def __init__(self, labels: Labels, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        self.labels = as_labels(labels)
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.epoch = self.batch = 0
        size = len(self.labels)
        require(batch_size >= 1, f"batch_size must be 1 or more, got {batch_size}")
        require(seed >= 0, f"seed must be 0 or more, got {seed}")
        require(0 <= rank < world_size, f"rank {rank} is not one of 0..{world_size - 1} (world_size {world_size})")
        require(
            batch_size % world_size == 0,
            f"batch_size {batch_size} is the global batch and cannot be shared equally by {world_size} processes: "
            f"use {-(-batch_size // world_size) * world_size}",
        )
        require(
            batch_size <= size, f"batch_size {batch_size} is larger than the set of {size} images: use {size} or less"
        )

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Batches:
        """All global batches of one epoch, len(self) of them, from this generator alone."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches an epoch: the same for every epoch and every rank."""

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.draw(np.random.default_rng([self.seed, self.epoch]))[self.batch :]
        return (self._share(batch).tolist() for batch in batches)

    def _share(self, batch: Positions) -> Positions:
        size = len(batch) // self.world_size
        return batch[self.rank * size : (self.rank + 1) * size]

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of this epoch."""
        require(epoch >= 0, f"epoch must be 0 or more, got {epoch}")
        self.epoch, self.batch = int(epoch), 0

    def advance_to(self, batch: int) -> None:
        """Say that the first `batch` batches of the present epoch are done."""
        require(0 <= batch <= len(self), f"batch {batch} is not one of 0..{len(self)}, the batches of an epoch")
        self.batch = int(batch)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches done in it, and what they were drawn with; JSON as it is, the same on every rank."""
        numbers = ("epoch", "batch", "seed", "batch_size")
        return {name: int(getattr(self, name)) for name in numbers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the recorded batch; a state drawn with another seed or batch size is refused."""
        for name in ("seed", "batch_size"):
            own, saved = getattr(self, name), state.get(name)
            require(
                saved == own, f"the saved sampler had {name}={saved}, this one {own}: its batches cannot be continued"
            )
        epoch, batch = int(state["epoch"]), int(state["batch"])
        require(0 <= batch <= len(self), f"the saved sampler was at batch {batch}; this one has {len(self)} an epoch")
        self.set_epoch(epoch)
        self.advance_to(batch)


def as_labels(labels: Labels) -> Positions:
    """An int64 copy (N,) of labels given as tensor, array or list; exact for every int64."""
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    require(array.ndim == 1 and array.size > 0, f"labels must be (N,) with N >= 1, got shape {array.shape}")
    require(array.dtype.kind in "iu", f"labels must be integers, got {array.dtype}: number the classes first")
    return array.astype(np.int64)


def by_label(labels: Positions, random: np.random.Generator) -> tuple[Positions, Positions]:
    """Shuffled positions (N,) laid out label after label, and where each label starts (C + 1,); labels ascending."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])
    return order, np.concatenate(([0], ends))


def require(condition: bool, message: str) -> None:
    """ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)

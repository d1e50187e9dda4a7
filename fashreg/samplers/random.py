"""Shuffled images: the plain sampler."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from fashreg.samplers.schedule import Batches, EpochSchedule, Labels, by_label, require


class RandomSampler(EpochSchedule):
    """Batches of images in random order, without regard to their classes.

    Every image once an epoch: the natural frequencies of the data, for losses that need no pair within the batch
    (proxies, classes) or that bring their own (two views, image and text). With many small classes a batch holds
    hardly any pair of one class: B (B - 1) / 2 * sum_c (n_c / N)^2 of them are to be expected.

    An epoch has floor(N / B) batches, or ceil(N / B) with drop_last=False. Corner cases: the last, smaller batch is
    shared equally too, so up to world_size - 1 of its images wait for the next epoch. A batch larger than the set
    raises ValueError. With `one_per_class` N is the number of classes, and an epoch shows one random image of each, so
    that no batch has two of a class: for pictures that share a text, which would be wrong answers to each other.

    See also: class-balanced, pairs.

    Args:
        labels: class of every image (N,); only their number is used, but for one_per_class.
        batch_size: global batch size B, over all processes.
        drop_last: leave out the last batch when it is smaller, so that every batch has B images; other images are left
            out each epoch.
        one_per_class: an epoch is one random image of every class, instead of every image.
        seed: with the epoch it fixes the batches.
        rank: index of this process.
        world_size: number of processes, a divisor of batch_size.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        batch_size: Annotated[int, Field(gt=0)],
        drop_last: bool = True,
        one_per_class: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, seed, rank, world_size)
        require(isinstance(drop_last, bool), f"drop_last must be True or False, got {drop_last!r}")
        self.drop_last, self.one_per_class = drop_last, one_per_class
        self._count = len(np.unique(self.labels)) if one_per_class else len(self.labels)
        require(
            batch_size <= self._count,
            f"a batch of {batch_size} is larger than the {self._count} classes that an epoch shows one image of; lower "
            "the batch size, or leave out one_per_class",
        )

    def __len__(self) -> int:
        full, rest = divmod(self._count, self.batch_size)
        return full + (not self.drop_last and rest >= self.world_size)

    def draw(self, random: np.random.Generator) -> Batches:
        """A permutation of all positions, or of one of each class, cut into batches."""
        if self.one_per_class:
            shuffled, starts = by_label(self.labels, random)
            order = random.permutation(shuffled[starts[:-1]])
        else:
            order = random.permutation(len(self.labels))
        batches = [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
        batches[-1] = batches[-1][: len(batches[-1]) // self.world_size * self.world_size]
        return batches

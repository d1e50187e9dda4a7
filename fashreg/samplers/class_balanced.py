"""P classes x K images: the sampler for losses that compare images of one class with images of others."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fashreg.samplers.schedule import EpochSchedule, Labels, Positions, by_label, require


class ClassBalancedSampler(EpochSchedule):
    """Batches of P slots of K images, one class a slot, so that every anchor has K - 1 positives.

    Each epoch the images of every class are shuffled and cut into slots of K different images; a last, shorter cut is
    filled up with other images of its class. The slots are dealt out like cards, one class after another in random
    order, to T batches of P = B / K slots. No class ever meets itself in another slot of its batch.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", arXiv 2017,
        https://arxiv.org/abs/1703.07737 (batches of P x K)

    Differs from the paper: an epoch passes over the images, not over the classes, so a large class comes in more
    batches than a small one, but never twice in the same.

    Classes with fewer than K images are what catalogues are made of: half of the classes may have one or two. With
    `small_classes`
    - "bundle": several whole small classes share a slot (four singles; two pairs). All images are seen once, pairs stay
      together, and singles serve as negatives. A slot that cannot be filled exactly repeats images, which is harmless:
      equal ids are never a pair. The default, because it wastes nothing and leaves nobody out.
    - "repeat": every small class gets a slot of its own with its images repeated, as the authors of many baselines do;
      a single then costs K forward passes an epoch and gives no pair.
    - "exclude": they are never seen. Right when proxies or negatives of rare classes only disturb.

    An epoch has T batches, the largest T with sum over classes of min(slots, T) >= P T; about N / B. Fewer than P slots
    are left over, others each epoch; of a class with more than T slots, T random ones are used. So every image is
    reached, in the first epoch unless it is left over.

    Corner cases, each a ValueError naming the numbers: B no multiple of K or smaller than 2 K, fewer than P slots that
    can meet in one batch, a single class, no class with two images, a batch larger than the set.

    See also: pairs, random; two-relation (plugin fashreg-moml).

    Args:
        labels: class of every image (N,), any integers.
        batch_size: global batch size B, over all processes; a multiple of images_per_class.
        images_per_class: K. 4 is the usual choice: three positives an anchor, and B / 4 classes to tell apart.
        small_classes: what becomes of classes with fewer than K images.
        seed: with the epoch it fixes the batches.
        rank: index of this process.
        world_size: number of processes, a divisor of batch_size. Shares are cut by rows, so a slot may be cut, too:
            gather the batch before the loss.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        batch_size: Annotated[int, Field(gt=0)],
        images_per_class: Annotated[int, Field(ge=2)] = 4,
        small_classes: Literal["bundle", "repeat", "exclude"] = "bundle",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, seed, rank, world_size)
        choices = ("bundle", "repeat", "exclude")
        require(small_classes in choices, f"small_classes must be one of {choices}, got {small_classes!r}")
        self.images_per_class, self.small_classes = images_per_class, small_classes
        self._sizes = np.unique(self.labels, return_counts=True)[1]
        self._check()
        own = self._sizes >= (1 if small_classes == "repeat" else images_per_class)
        small = self._sizes[~own] if small_classes == "bundle" else self._sizes[:0]
        self._bundles = bundles(small, images_per_class)
        slots = np.where(own, -(-self._sizes // images_per_class), 0)
        per_batch = batch_size // images_per_class
        self._batches = most_batches(np.concatenate((slots, np.ones(len(self._bundles), np.int64))), per_batch)
        self._slots = np.minimum(slots, self._batches)
        require(self._batches > 0, self._too_few(int(own.sum()) + len(self._bundles)))

    def __len__(self) -> int:
        return self._batches

    def draw(self, random: np.random.Generator) -> Positions:
        """(T, B) positions: the slots of all classes in random order, dealt to T batches."""
        order, starts = by_label(self.labels, random)
        slots = np.concatenate((self._own_slots(order, starts), self._bundled_slots(order, starts, random)))
        classes, bundled = len(self._slots), len(self._bundles)
        owner = np.concatenate((np.repeat(np.arange(classes), self._slots), np.arange(classes, classes + bundled)))
        row = np.argsort(random.permutation(classes + bundled)[owner], kind="stable")  # one class after another
        per_batch = self.batch_size // self.images_per_class
        kept = np.sort(random.choice(len(row), per_batch * self._batches, replace=False))
        dealt = row[kept].reshape(per_batch, self._batches).T  # at most T slots of a class in a row: no column has two
        batches: Positions = slots[random.permutation(dealt)].reshape(self._batches, self.batch_size)
        return batches

    def _own_slots(self, order: Positions, starts: Positions) -> Positions:
        """(U, K) positions of the classes that have slots of their own; a shorter last slot goes round its class."""
        owner = np.repeat(np.arange(len(self._slots)), self._slots)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(self._slots) - self._slots, self._slots)
        within = number[:, None] * self.images_per_class + np.arange(self.images_per_class)
        slots: Positions = order[starts[owner][:, None] + within % self._sizes[owner][:, None]]
        return slots

    def _bundled_slots(self, order: Positions, starts: Positions, random: np.random.Generator) -> Positions:
        """(V, K) positions of the bundles, small classes of each size drawn in random order."""
        queues = {
            size: iter(random.permutation(np.flatnonzero(self._sizes == size)).tolist())
            for size in {size for bundle in self._bundles for size in bundle}
        }
        rows = np.zeros((len(self._bundles), self.images_per_class), np.int64)
        for row, bundle in zip(rows, self._bundles, strict=True):
            held = np.concatenate([order[starts[c] : starts[c + 1]] for c in (next(queues[size]) for size in bundle)])
            row[:] = np.resize(held, self.images_per_class)
        return rows

    def _check(self) -> None:
        """Refuse what no drawing could serve, with the numbers and the way out."""
        count, per_class = self.batch_size, self.images_per_class
        require(per_class >= 2, f"images_per_class must be 2 or more, got {per_class}: one image has no positive")
        require(
            2 * per_class <= count,
            f"batch_size {count} with images_per_class {per_class} leaves no second class in a batch: "
            f"use batch_size {2 * per_class} or more"
            + (f", or images_per_class {count // 2} or less" if count >= 4 else ""),
        )
        require(
            count % per_class == 0,
            f"batch_size {count} is no multiple of images_per_class {per_class}: "
            f"use batch_size {count // per_class * per_class} or {(count // per_class + 1) * per_class}",
        )
        require(
            len(self._sizes) > 1,
            f"all {len(self.labels)} images have "
            + ("no label" if self.labels[0] < 0 else f"the label {self.labels[0]}")
            + ": a batch needs two classes; choose a finer label column",
        )
        require(
            int(self._sizes.max()) > 1,
            f"none of the {len(self._sizes)} classes has two images, so no batch can hold a positive pair; "
            "choose a coarser label column, or the sampler random with a loss on proxies",
        )

    def _too_few(self, usable: int) -> str:
        count, per_class = self.batch_size, self.images_per_class
        wider = (k for k in range(per_class + 1, count // 2 + 1) if count % k == 0 and count // k <= usable)
        ways = [f"batch_size {usable * per_class}"] if usable > 1 else []
        ways += [f"images_per_class {k}" for k in wider][:1]
        ways += ['small_classes "bundle"'] if self.small_classes == "exclude" else []
        return (
            f"batch_size {count} with images_per_class {per_class} needs {count // per_class} classes in a batch, and "
            f"the {len(self._sizes)} there are fill {usable} places: use {' or '.join(ways) or 'another label column'}"
        )


def bundles(sizes: Positions, room: int) -> list[list[int]]:
    """Sizes of small classes (< room) put together so that each bundle holds at most `room` images, largest first."""
    left = np.bincount(sizes, minlength=room)
    made: list[list[int]] = []
    while left.any():
        bundle: list[int] = []
        free = room
        while free and left[1 : free + 1].any():
            size = int(np.flatnonzero(left[: free + 1])[-1])
            left[size] -= 1
            bundle.append(size)
            free -= size
        made.append(bundle)
    return made


def most_batches(slots: Positions, per_batch: int) -> int:
    """The largest T with sum of min(slots, T) >= per_batch * T: so many batches of different classes can be dealt."""
    low, high = 0, int(slots.sum()) // per_batch
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(slots, middle).sum()) >= per_batch * middle:
            low = middle
        else:
            high = middle - 1
    return low

"""Batches of classes that the proxies find alike, beside classes drawn from all of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from fashreg.samplers.schedule import EpochSchedule, Labels, Positions, require
from fashreg_moml.deck import Deck
from fashreg_moml.neighbours import Neighbours, nearest_classes

_BATCH = 1  # beside seed, epoch and number: this generator is for a batch (that of a deck has another number)


class _Reading(Iterator[list[int]]):
    """The batches of an epoch from where the sampler stands. fetched: batches given out, counted over all epochs."""

    def __init__(self, sampler: TwoRelationSampler) -> None:
        self.sampler, self.epoch, self.number = sampler, sampler.epoch, sampler.batch

    @property
    def fetched(self) -> int:
        return self.epoch * len(self.sampler) + self.number

    def __next__(self) -> list[int]:
        if self.number >= len(self.sampler):
            raise StopIteration
        batch = self.sampler.share(self.epoch, self.number)
        self.number += 1
        return batch


class TwoRelationSampler(EpochSchedule):
    """P classes x K images: some classes drawn from all, the others near them by the loss's proxies.

    Of the P = B / K classes of a batch ceil(uniform P) are seeds, dealt from a shuffled deck (the class of every image,
    or every class once), so each class comes within a bounded time. Every seed brings equally many of its nearest
    classes, without repetition by

        softmax(u / temperature) over its `nearest` nearest,    u = cosine of two classes' proxies.

    A class that is in the batch already is replaced by one drawn from all others. Each class gives K of its images, in
    random order, repeated where it has fewer. An epoch is floor(N / B) batches. Until proxies were seen, and always
    in the first `warmup` epochs, all P classes are seeds or drawn from all.

    `wants(step)` says when it wants to look, `see(proxies, step)` shows it the proxies; the standard learner does both.
    What it saw holds from `ahead` batches later on, or from the next epoch if that is sooner: batches that a loader
    has fetched by then stay, whatever the loader. The nearest classes are kept in state_dict().

    Source: Lee, Roh, "Deep Metric Learning with Multi-Objective Functions", CVFAD workshop at CVPR 2020 (that sampling
        looks at an image's relation to other images and to proxies at once).

    Differs: the paper's sampler was not at hand; all of the above is ours. Hardness by both relations within a batch is
    the mining of loss multi-objective.

    Corner cases, each a ValueError naming the numbers: B no multiple of K, fewer than 2 classes in a batch, fewer
    classes than P; proxies (C K', D) whose rows are no multiple of num_classes.

    See also: class-balanced (no neighbours, every image once an epoch), multi-objective (a loss with proxies).

    Args:
        labels: class of every image (N,); those of proxies are 0..C-1.
        batch_size: global batch size B, over all processes; a multiple of images_per_class.
        images_per_class: K; 4 leaves every image three positives.
        uniform: share of the batch's classes that are seeds, 0.25 or more; 1 leaves no place for neighbours.
        nearest: how many nearest classes of a seed may be drawn.
        temperature: of the draw among them; small prefers the nearest.
        seeds: the deck holds each image once, so that classes come as often as they are large, or each class once: then
            most batches of a catalogue are of classes with one or two images, and repeat these.
        warmup: epochs without neighbours; untrained proxies know nothing.
        refresh: optimiser steps between two looks at the proxies.
        ahead: batches that a loader may fetch before they are trained on; more than that is refused when it is noticed.
        num_classes: C, classes that have proxies; None is the largest label + 1.
        seed: with the epoch, and the proxies seen, it fixes the batches.
        rank: index of this process.
        world_size: number of processes, a divisor of batch_size. Shares are cut by rows: gather before the loss.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        batch_size: Annotated[int, Field(gt=0)],
        images_per_class: Annotated[int, Field(ge=2)] = 4,
        uniform: Annotated[float, Field(ge=0.25, le=1)] = 0.25,
        nearest: Annotated[int, Field(gt=0)] = 20,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        seeds: Literal["images", "classes"] = "images",
        warmup: Annotated[int, Field(ge=0)] = 1,
        refresh: Annotated[int, Field(gt=0)] = 500,
        ahead: Annotated[int, Field(gt=0)] = 16,
        num_classes: Annotated[int, Field(gt=0)] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, seed, rank, world_size)
        self.images_per_class, self.uniform, self.nearest = images_per_class, uniform, nearest
        self.temperature, self.seeds, self.warmup = temperature, seeds, warmup
        self.refresh, self.ahead, self.num_classes = refresh, ahead, num_classes
        self._present, codes, sizes = np.unique(self.labels, return_inverse=True, return_counts=True)
        self._check()
        self._places = batch_size // images_per_class  # P
        self._fresh = min(self._places, int(np.ceil(uniform * self._places - 1e-9)))  # seeds in a batch
        self._order = np.argsort(codes, kind="stable")  # positions, class after class
        self._starts = np.concatenate(([0], np.cumsum(sizes)))
        self._deck = Deck(codes if seeds == "images" else np.arange(len(sizes)), seed)
        self._seen: list[Neighbours] = []  # as time goes: what holds in this epoch, and what will
        self._looked: int | None = None  # step of the last look
        self._reading: weakref.ref[_Reading] | None = None  # the newest iteration, while somebody holds it

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        reading = _Reading(self)
        self._reading = weakref.ref(reading)
        return reading

    def draw(self, random: np.random.Generator) -> list[Positions]:
        """All batches of this epoch as what was seen so far makes them; each has a generator of its own."""
        return [self.positions(self.epoch, number) for number in range(len(self))]

    def share(self, epoch: int, number: int) -> list[int]:
        """This process's share of a batch."""
        share: list[int] = self._share(self.positions(epoch, number)).tolist()
        return share

    def positions(self, epoch: int, number: int) -> Positions:
        """(B,) positions of a batch, the K images of a class together, classes in random order."""
        random = self._random(epoch, number)
        slots = []
        for label in random.permutation(self._classes(epoch, number, random)):
            own = self._order[self._starts[label] : self._starts[label + 1]]
            few = len(own) < self.images_per_class
            chosen = random.permutation(own) if few else random.choice(own, self.images_per_class, replace=False)
            slots.append(np.resize(chosen, self.images_per_class))
        return np.concatenate(slots)

    def wants(self, step: int) -> bool:
        """Whether proxies should be shown after optimiser step `step`; advance_to comes first."""
        due = self._looked is None or step - self._looked >= self.refresh
        return self._fresh < self._places and self._done >= self.warmup * len(self) and due

    def see(self, proxies: Tensor, step: int) -> None:
        """Take in the proxies (C K', D), K' rows for each class; they count from `ahead` batches later on."""
        classes = int(self._present[-1]) + 1 if self.num_classes is None else self.num_classes
        require(
            proxies.ndim == 2 and len(proxies) > 0 and len(proxies) % classes == 0,
            f"proxies must be (C K, D) with C = {classes} classes, got {tuple(proxies.shape)}",
        )
        require(int(self._present[0]) >= 0 and int(self._present[-1]) < classes, f"labels must lie in 0..{classes - 1}")
        since = min(self._done + self.ahead, (self.epoch + 1) * len(self))
        reading = None if self._reading is None else self._reading()
        fetched = 0 if reading is None else reading.fetched - self._done
        require(
            self._done + fetched <= since,
            f"{fetched} batches have been fetched ahead of training, and ahead is {self.ahead}: give the sampler "
            f"ahead={fetched} or more, or let the loader fetch less",
        )
        rows = proxies.detach().reshape(classes, -1, proxies.shape[1])
        if len(self._present) < classes:
            rows = rows[self._present]
        began = self.epoch * len(self)
        past = [view for view in self._seen if view.since <= began][-1:]
        later = [view for view in self._seen if began < view.since < since]
        self._seen = [*past, *later, Neighbours(since, *nearest_classes(rows, self.nearest))]
        self._looked = int(step)

    @property
    def parts(self) -> dict[str, float]:
        """coverage[classes]: share of all classes that the batches done in this epoch held."""
        held: set[int] = set()
        for number in range(self.batch):
            held.update(self._classes(self.epoch, number, self._random(self.epoch, number)))
        return {"coverage[classes]": len(held) / len(self._present)}

    def state_dict(self) -> dict[str, Any]:
        """As of every sampler, and what was seen: tensors, once there is something."""
        seen = {"looked": self._looked, "seen": [view.as_dict() for view in self._seen]}
        return {**super().state_dict(), **(seen if self._seen else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the recorded batch, with what was seen by then."""
        views = [Neighbours.from_dict(view) for view in state.get("seen", [])]
        count = len(self._present)
        for view in views:
            require(len(view.near) == count, f"the saved sampler saw {len(view.near)} classes, this one has {count}")
        super().load_state_dict(state)
        self._seen, self._looked = views, int(state["looked"]) if views else None

    @property
    def _done(self) -> int:
        """Batches done, over all epochs."""
        return self.epoch * len(self) + self.batch

    def _random(self, epoch: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, number, _BATCH])

    def _classes(self, epoch: int, number: int, random: np.random.Generator) -> list[int]:
        """The P classes of a batch, counted among those that have images; seeds first."""
        at = epoch * len(self) + number
        dealt = self._deck.dealt(at * self._fresh, self._fresh)
        chosen = dict.fromkeys(dealt)
        views = [view for view in self._seen if view.since <= at] if epoch >= self.warmup else []
        if views:
            each, more = divmod(self._places - self._fresh, len(chosen))
            for i, label in enumerate(list(chosen)):
                chosen.update(dict.fromkeys(views[-1].drawn(label, each + (i < more), self.temperature, random)))
        free = np.ones(len(self._present), bool)
        free[list(chosen)] = False
        rest = np.flatnonzero(free)
        return [*chosen, *random.choice(rest, self._places - len(chosen), replace=False).tolist()]

    def _check(self) -> None:
        """Refuse what cannot be, with the numbers and the way out."""
        count, each, classes = self.batch_size, self.images_per_class, len(self._present)
        require(each >= 2, f"images_per_class must be 2 or more, got {each}: one image has no positive")
        require(
            2 * each <= count,
            f"batch_size {count} with images_per_class {each} leaves no second class in a batch: use batch_size "
            f"{2 * each} or more",
        )
        require(
            count % each == 0,
            f"batch_size {count} is no multiple of images_per_class {each}: use batch_size {count // each * each} or "
            f"{(count // each + 1) * each}",
        )
        require(
            classes > 1,
            f"all {len(self.labels)} images have the label {self.labels[0]}: a batch needs two classes; choose a finer "
            "label column",
        )
        require(
            count // each <= classes,
            f"batch_size {count} with images_per_class {each} needs {count // each} classes in a batch, and there are "
            f"{classes}: use batch_size {classes * each} or less",
        )
        require(0.25 <= self.uniform <= 1, f"uniform must lie in 0.25..1, got {self.uniform}")
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")
        require(self.seeds in ("classes", "images"), f"seeds must be classes or images, got {self.seeds!r}")
        least = min(self.nearest, self.refresh, self.ahead)
        require(least > 0 and self.warmup >= 0, "nearest, refresh and ahead must be 1 or more, warmup 0 or more")

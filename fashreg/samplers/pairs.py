"""Pairs of images of one class: the sampler for losses that compare row i with row i."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fashreg.samplers.schedule import EpochSchedule, Labels, Positions, require


class PairsSampler(EpochSchedule):
    """Batches of P = B / 2 pairs, anchors first: rows [a_1 .. a_P, p_1 .. p_P].

    Row i and row i + P are two different images of one class, so batch[:P] and batch[P:] are the two sides of a loss
    that compares row i with row i (`infonce` with its pairs). The positive is uniform among the other images of the
    anchor's class. A class with a single image has no pair and is never seen.

    anchors="each-image": every image that has a partner is an anchor in turn, in shuffled rounds.
    anchors="balanced": every class is asked equally often, in shuffled rounds over the classes, and the anchor is
    uniform within its class: for few and very unequal classes, such as the values of an attribute.

    Source: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image Retrieval with
        Contrastive Learning and Exponential Moving Average Distillation", arXiv 2026,
        https://arxiv.org/abs/2603.20648 (balanced anchors, as in its released code)

    Differs from that code: values come in shuffled rounds instead of independent draws (the same shares, and fewer
    pairs of one value in a batch), no explicit negative is drawn, and everything is seeded.

    An epoch has floor(pairs / P) batches. Corner cases: one image may be in several pairs of a batch, and pairs of one
    class may meet (with 5 values and 16 pairs they must): the loss decides whether those are negatives; equal ids
    never are. ValueError for an odd batch or one of a single pair, for fewer pairs than a batch, and when fewer than
    two classes have two images.

    See also: class-balanced, random.

    Args:
        labels: class, or attribute value, of every image (N,), any integers.
        batch_size: global batch size B = 2 P, over all processes.
        anchors: who is an anchor how often.
        pairs: pairs drawn an epoch; None for as many as there are images with a partner.
        seed: with the epoch it fixes the batches.
        rank: index of this process.
        world_size: number of processes, a divisor of batch_size. Shares are cut by rows, so of two processes one holds
            the anchors and one the positives: gather the batch in rank order before the loss.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        batch_size: Annotated[int, Field(gt=0)],
        anchors: Literal["each-image", "balanced"] = "each-image",
        pairs: Annotated[int, Field(gt=0)] | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(labels, batch_size, seed, rank, world_size)
        require(anchors in ("each-image", "balanced"), f'anchors must be "each-image" or "balanced", got {anchors!r}')
        require(
            batch_size >= 4 and batch_size % 2 == 0,
            f"batch_size {batch_size} is not two or more pairs: use an even number from 4 on",
        )
        self.anchors, self.pairs = anchors, pairs
        sizes = np.unique(self.labels, return_counts=True)[1]
        self._sizes = sizes[sizes > 1]
        self._starts = (np.cumsum(sizes) - sizes)[sizes > 1]
        require(
            len(self._sizes) > 1,
            f"{len(self._sizes)} of {len(sizes)} classes have two images or more, and a batch of pairs needs two such "
            "classes: choose another label column",
        )
        number = int(self._sizes.sum()) if pairs is None else pairs
        self._batches = number * 2 // batch_size
        require(
            self._batches > 0,
            f"batch_size {batch_size} takes {batch_size // 2} pairs and an epoch has {number}: "
            "use a smaller batch_size, or more pairs",
        )

    def __len__(self) -> int:
        return self._batches

    def draw(self, random: np.random.Generator) -> Positions:
        """(T, B) positions, anchors in the first half of each row, their positives in the second."""
        order = np.argsort(self.labels, kind="stable")  # label after label, as starts and sizes are
        number = self._batches * self.batch_size // 2
        if self.anchors == "balanced":
            owner = rounds(len(self._sizes), number, random)
            anchor = random.integers(self._sizes[owner])
        else:
            owner = np.repeat(np.arange(len(self._sizes)), self._sizes)
            within = np.arange(len(owner)) - np.repeat(np.cumsum(self._sizes) - self._sizes, self._sizes)
            chosen = rounds(len(owner), number, random)
            owner, anchor = owner[chosen], within[chosen]
        step = random.integers(1, self._sizes[owner])  # 1 .. size - 1 places further round the class: never itself
        positive = (anchor + step) % self._sizes[owner]
        both = np.stack((order[self._starts[owner] + anchor], order[self._starts[owner] + positive]))
        return both.reshape(2, self._batches, -1).transpose(1, 0, 2).reshape(self._batches, self.batch_size)


def rounds(things: int, number: int, random: np.random.Generator) -> Positions:
    """`number` draws from 0..things-1 in shuffled rounds: nobody comes again before all others came."""
    full = np.tile(np.arange(things), (-(-number // things), 1))
    return random.permuted(full, axis=1).reshape(-1)[:number]

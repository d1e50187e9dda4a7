"""Which pictures of a value stand for it best: those whose mean stays nearest to the mean of all."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]


def herd(vectors: Tensor, count: int) -> list[int]:
    """Positions of `count` rows (N, D) in the order of choice; fewer when there are fewer.

    Row k is the one that brings the mean of the k chosen nearest to the mean of all (unit rows; iCaRL, algorithm 4).
    """
    rows = torch.nn.functional.normalize(vectors.double(), dim=1, eps=1e-12)
    mean, lengths = rows.mean(0), rows.square().sum(1)
    total, free = torch.zeros_like(mean), torch.ones(len(rows), dtype=torch.bool)
    chosen: list[int] = []
    for k in range(1, min(count, len(rows)) + 1):
        # |mean - (total + x) / k|^2 without what is equal for all x
        gap = lengths + 2.0 * (rows @ (total - k * mean))
        best = int(torch.where(free, gap, torch.inf).argmin())
        chosen.append(best)
        free[best] = False
        total += rows[best]
    return chosen


def allotted(sizes: list[int], budget: int) -> list[int]:
    """How many pictures of each value `budget` allows: equally many, and at least two, for a pair needs two.

    What a value with few pictures leaves over goes to the others. With less room than two for each value, those with
    the most pictures get two. A value with one picture gets none. No share grows when the budget shrinks.
    """
    taken = [0 for _ in sizes]
    paired = sorted((i for i, n in enumerate(sizes) if n > 1), key=lambda i: -sizes[i])
    kept = paired[: max(1, budget // 2)]
    for place in kept:
        taken[place] = 2
    room = budget - sum(taken) if len(kept) == len(paired) else 0
    while room > 0 and any(taken[i] < sizes[i] for i in kept):
        for place in kept:
            if room > 0 and taken[place] < sizes[place]:
                taken[place] += 1
                room -= 1
    return taken


def in_order(labels: Rows, budget: int, vectors: Tensor | None, random: np.random.Generator) -> list[list[int]]:
    """For each value the rows that `budget` allows, best first, so that a smaller budget takes the first of them.

    labels: (N,) value of every row. vectors: (N, D) to choose by herding; None: by chance.
    """
    every = [np.flatnonzero(labels == value) for value in np.unique(labels[labels >= 0])]
    found = []
    for rows, count in zip(every, allotted([len(rows) for rows in every], budget), strict=True):
        if vectors is None:
            picked = random.permutation(len(rows))[:count]
        else:
            picked = np.array(herd(vectors[torch.from_numpy(rows)], count), dtype=np.int64)
        found.append([int(row) for row in rows[picked]])
    return found


def share(ordered: list[list[int]], budget: int) -> list[int]:
    """Rows that a budget allows, value after value, best first."""
    counts = allotted([len(rows) for rows in ordered], budget)
    return [row for count, rows in zip(counts, ordered, strict=True) for row in rows[:count]]

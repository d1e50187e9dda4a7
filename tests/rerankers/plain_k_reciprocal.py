"""The k-reciprocal method as a page of Python: sets, dictionaries and fractions of floats, one query at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

Vector = Sequence[float]


def cosine(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


class Points:
    """A query (point 0) and its candidates in the order of the first stage."""

    def __init__(self, points: Sequence[Vector], k1: int, k2: int) -> None:
        self.count, self.k1, self.k2 = len(points), k1, k2
        self.cosines = [[cosine(a, b) for b in points] for a in points]

    @functools.cache  # noqa: B019
    def nearest(self, i: int, k: int) -> list[int]:
        """i and the k points nearest to it; equally near ones by place."""
        others = sorted((j for j in range(self.count) if j != i), key=lambda j: (-round(self.cosines[i][j], 6), j))
        return [i, *others[:k]]

    @functools.cache  # noqa: B019
    def mutual(self, i: int, k: int) -> set[int]:
        return {j for j in self.nearest(i, k) if i in self.nearest(j, k)}

    @functools.cache  # noqa: B019
    def expanded(self, i: int) -> set[int]:
        found = self.mutual(i, self.k1)
        joined = set(found)
        for j in found:
            theirs = self.mutual(j, math.ceil(self.k1 / 2))
            if 3 * len(found & theirs) >= 2 * len(theirs):
                joined |= theirs
        return joined

    @functools.cache  # noqa: B019
    def encoded(self, i: int) -> dict[int, float]:
        weights = {j: math.exp(self.cosines[i][j] - 1) for j in self.expanded(i)}
        total = sum(weights.values())
        return {j: weight / total for j, weight in weights.items()}

    @functools.cache  # noqa: B019
    def averaged(self, i: int) -> dict[int, float]:
        near = self.nearest(i, self.k2 - 1)
        parts = [self.encoded(j) for j in near]
        return {j: sum(part.get(j, 0.0) for part in parts) / len(near) for j in range(self.count)}

    def similarity(self, g: int) -> float:
        """1 - d_J between the query and point g."""
        query, other = self.averaged(0), self.averaged(g)
        shared = sum(min(query[j], other[j]) for j in query)
        return shared / sum(max(query[j], other[j]) for j in query)


def reranked(
    query: Vector, candidates: Sequence[Vector], k1: int, k2: int, original_weight: float
) -> list[tuple[int, float]]:
    """(place in the first ranking, score) of every candidate, best first."""
    points = Points([query, *candidates], k1, k2)
    scored = []
    for g in range(1, points.count):
        score = (1 - original_weight) * points.similarity(g) + original_weight * points.cosines[0][g]
        scored.append((g - 1, score))
    return sorted(scored, key=lambda pair: (-round(pair[1], 5), pair[0]))

"""Slow, obvious losses: Python loops over single numbers, straight from the definitions. Rows are taken as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fashreg.values import Embedded

ANGLES = (0.0, 20.0, 50.0, 110.0)  # the toy of the specifications: four unit rows, labels 0, 0, 1, 1


def at(*degrees: float) -> Tensor:
    """Unit rows in the plane, fp64."""
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def toy() -> Embedded:
    return Embedded(at(*ANGLES), torch.tensor([0, 0, 1, 1]), torch.arange(4), unit=True)


def some_images(
    n: int, seed: int = 0, *, classes: int = 3, first: int = 0, repeats: bool = False, dim: int = 5
) -> Embedded:
    """n random unit fp64 rows; with `repeats` some ids occur twice and some are negative."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(n, dim, dtype=torch.float64, generator=generator) + 0.4)
    ids = torch.arange(first, first + n)
    if repeats:
        ids = torch.randint(-1, max(2, n - 1), (n,), generator=generator) + (first if first < 0 else 0)
    return Embedded(vectors, torch.randint(0, classes, (n,), generator=generator), ids, unit=True)


def pairs(
    batch: Embedded, references: Embedded | None = None, relevance: Tensor | None = None
) -> Iterator[tuple[list[float], list[float]]]:
    """For each anchor the scores of its positives and of its negatives."""
    others = batch if references is None else references
    for i in range(len(batch)):
        positives, negatives = [], []
        for j in range(len(others)):
            if (references is None and i == j) or (batch.ids[i] >= 0 and batch.ids[i] == others.ids[j]):
                continue
            score = float(batch.vectors[i] @ others.vectors[j])
            said = float(batch.labels[i] == others.labels[j]) if relevance is None else float(relevance[i, j])
            if said > 0:
                positives.append(score)
            elif said == 0:
                negatives.append(score)
        yield positives, negatives


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def contrastive_by_anchor(*given: object, margin: float = 0.5) -> list[float]:
    return [sum(1 - s for s in p) + sum(s for s in n if s > margin) for p, n in pairs(*given)]  # type: ignore[arg-type]


def contrastive_over_pairs(*given: object, pos_margin: float, neg_margin: float) -> float:
    every = list(pairs(*given))  # type: ignore[arg-type]
    pulled = [pos_margin - s for p, _ in every for s in p if s < pos_margin]
    pushed = [s - neg_margin for _, n in every for s in n if s > neg_margin]
    return mean(pulled) + mean(pushed)


def multi_similarity_by_anchor(
    *given: object, alpha: float = 2, beta: float = 50, base: float = 0.5, epsilon: float | None = None
) -> list[float]:
    found = []
    for p, n in pairs(*given):  # type: ignore[arg-type]
        hard_p = [s for s in p if epsilon is None or s - epsilon < max(n, default=-math.inf)]
        hard_n = [s for s in n if epsilon is None or s + epsilon > min(p, default=math.inf)]
        near = math.log(1 + sum(math.exp(-alpha * (s - base)) for s in hard_p)) / alpha
        found.append(near + math.log(1 + sum(math.exp(beta * (s - base)) for s in hard_n)) / beta)
    return found


def triplet(*given: object, margin: float, mining: str = "all", soft: bool = False) -> float:
    costs = []
    for p, n in pairs(*given):  # type: ignore[arg-type]
        several = [(a, b) for a in p for b in n]
        if mining == "semi-hard":
            several = [(a, b) for a, b in several if b < a < b + margin]
        if mining == "hard":
            several = [(min(p), max(n))] if p and n else []
        costs += [math.log1p(math.exp(b - a + margin)) if soft else b - a + margin for a, b in several]
    return mean([cost for cost in costs if cost > 0])


def infonce_among_all(*given: object, temperature: float) -> float:
    found = []
    for p, n in pairs(*given):  # type: ignore[arg-type]
        total = sum(math.exp(s / temperature) for s in p + n)
        if p:
            found.append(mean([-math.log(math.exp(s / temperature) / total) for s in p]))
    return mean(found)


def infonce_among_negatives(*given: object, temperature: float) -> float:
    found = []
    for p, n in pairs(*given):  # type: ignore[arg-type]
        against = sum(math.exp(s / temperature) for s in n)
        found += [-math.log(math.exp(s / temperature) / (math.exp(s / temperature) + against)) for s in p]
    return mean(found)


def partners(left: Tensor, right: Tensor, *, temperature: float, both_sides: bool, symmetric: bool) -> float:
    """Row i of `left` belongs to row i of `right`."""
    found = []
    for mine, other in ((left, right), (right, left))[: 2 if symmetric else 1]:
        for i in range(len(mine)):
            scores = [float(mine[i] @ row) for row in other]
            if both_sides:
                scores += [float(mine[i] @ mine[j]) for j in range(len(mine)) if j != i]
            total = sum(math.exp(s / temperature) for s in scores)
            found.append(-math.log(math.exp(scores[i] / temperature) / total))
    return mean(found)

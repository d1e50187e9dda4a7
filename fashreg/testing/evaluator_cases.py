"""Small cases for the contract of an evaluator, and the metrics written out plainly."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from fashreg.functional.neighbours import WHOLE_RANKING
from fashreg.functional.relevance import relevance_from_labels
from fashreg.values import Rankings, Relevance


@dataclass(frozen=True)
class Case:
    """Queries against a gallery, ranked. queries, gallery: (id, label). order: ranked ids of each query, best first."""

    queries: list[tuple[int, int]]
    gallery: list[tuple[int, int]]
    order: list[list[int]]

    @property
    def relevance(self) -> Relevance:
        """Equal label, another id."""
        return self.relevance_by(None)

    def relevance_by(self, source: Callable[[int], int] | None) -> Relevance:
        """Equal label, another id, and where `source` is given, another source of the id."""
        queries, gallery = torch.tensor(self.queries), torch.tensor(self.gallery)
        sources = {}
        if source is not None:
            sources["query_sources"] = torch.tensor([source(i) for i, _ in self.queries])
            sources["gallery_sources"] = torch.tensor([source(i) for i, _ in self.gallery])
        return relevance_from_labels(queries[:, 1], queries[:, 0], gallery[:, 1], gallery[:, 0], **sources)

    def rankings(self, depth: int) -> Rankings:
        """The first `depth` ranks, padded where there are fewer; WHOLE_RANKING gives one for each gallery item."""
        depth = len(self.gallery) if depth == WHOLE_RANKING else depth
        rows = [[*row[:depth], *[-1] * (depth - len(row))] for row in self.order]
        ids = torch.tensor(rows, dtype=torch.int64).view(len(rows), depth)
        return Rankings(ids, torch.where(ids < 0, -torch.inf, 1 - torch.arange(depth) / depth))

    def found(self) -> list[tuple[list[int], int]]:
        """For each query: 1 or 0 for each ranked item, relevant or not, and the number R of relevant items."""
        label_of = dict(self.gallery)
        judged = []
        for (own, label), row in self.pairs():
            hits = [int(i >= 0 and i != own and label_of.get(i) == label) for i in row]
            judged.append((hits, sum(i != own and found == label for i, found in self.gallery)))
        return judged

    def pairs(self) -> Iterator[tuple[tuple[int, int], list[int]]]:
        """Each query with its ranking."""
        return zip(self.queries, self.order, strict=True)

    def sorted_by(self, badness: Callable[[bool], int]) -> Case:
        """The same with each ranking stably sorted by whether an item is relevant."""
        pairs = zip(self.order, self.found(), strict=True)
        order = [[i for _, i in sorted(zip(map(badness, map(bool, f)), row, strict=True))] for row, (f, _) in pairs]
        return replace(self, order=order)


def leave_one_out(seed: int, n: int = 26, classes: int = 4, scale: int = 1) -> Case:
    """n items of some classes plus one alone in its class, each ranked by the others in a random order."""
    made = random.Random(seed)
    ids = made.sample(range(3 * n), n)
    gallery = [(i * scale, (made.randrange(classes) - 1) * scale) for i in ids[1:]] + [(ids[0] * scale, 77 * scale)]
    order = []
    for own, _ in gallery:
        others = [i for i, _ in gallery if i != own]
        order.append(made.sample(others, len(others)))
    return Case(gallery, gallery, order)


def measured(evaluator: Any, case: Case) -> dict[str, float]:
    """What the evaluator says of the case, given the ranks it asks for."""
    numbers: dict[str, float] = evaluator(case.rankings(evaluator.depth(case.relevance)), case.relevance)
    return numbers


def plain_value(name: str, found: list[int], r: int) -> float | None:
    """The metric of that name for one query, from its definition; None for a name that has none here."""
    kind, _, cut = name.partition("@")
    k = int(cut) if cut.isdigit() else 0
    top = found[: k or None]
    precise = [sum(found[: i + 1]) / (i + 1) if hit else 0.0 for i, hit in enumerate(found)]
    if kind in ("ndcg", "binary-ndcg") and k:
        best = sum(1 / math.log2(i + 2) for i in range(min(k, r)))
        return sum(hit / math.log2(i + 2) for i, hit in enumerate(top)) / best
    known = {
        "map": sum(precise) / r,
        "map@r": sum(precise[:r]) / r,
        "r-precision": sum(found[:r]) / r,
        f"recall@{k}": float(any(top)),
        f"hit-rate@{k}": float(any(top)),
        f"share-found@{k}": sum(top) / r,
        f"precision@{k}": sum(top) / k if k else 0.0,
        "mrr" if not k else f"mrr@{k}": max((1 / (i + 1) for i, hit in enumerate(top) if hit), default=0.0),
    }
    return known.get(name)


def same_numbers(one: dict[str, float], other: dict[str, float]) -> bool:
    """Equal names and, to rounding, equal values."""
    return one.keys() == other.keys() and all(math.isclose(one[n], other[n], abs_tol=1e-12) for n in one)

"""Pictures that may be wrong in the table: near-duplicates, and labels that their neighbours contradict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.neighbours import nearest
from fashreg.functional.similarity import unit_rows
from fashreg.jobs.evaluation_result import Item, StoredVectors

#: Cosine from which two pictures are looked at as one picture twice.
ALIKE = 0.95
NEIGHBOURS = 10
MOST_ROWS = 30_000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that are close. same_label: None where one has none."""

    one: Item
    other: Item
    cosine: float
    same_label: bool | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A picture whose neighbours carry another label.

    own, other: share of its R nearest pictures that carry its label, and the label `claimed`, R = the other pictures of
    its class, 10 at most. neighbours: the nearest of the claimed label.
    """

    item: Item
    claimed: str
    own: float
    other: float
    neighbours: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Suspects:
    """What was found among `looked_at` of `of` pictures. pairs: all of cosine >= ALIKE, nearest first."""

    pairs: tuple[Pair, ...]
    doubts: tuple[Doubt, ...]
    looked_at: int
    of: int


def find_suspects(stored: StoredVectors, items: Mapping[int, Item]) -> Suspects | None:
    """Look at every picture's neighbours by cosine; of more than MOST_ROWS pictures, at an even sample."""
    rows = [i for i, item_id in enumerate(stored.ids.tolist()) if item_id in items]
    if len(rows) < 2:
        return None
    chosen = torch.tensor(rows)
    if len(rows) > MOST_ROWS:
        chosen = chosen[torch.linspace(0, len(rows) - 1, MOST_ROWS).round().long()]
    vectors = unit_rows(stored.vectors[chosen])
    places = torch.arange(len(chosen))
    found = nearest(vectors, vectors, places, min(NEIGHBOURS, len(chosen) - 1), places)
    here = [items[i] for i in stored.ids[chosen].tolist()]
    return Suspects(_pairs(found.ids, found.scores, here), _doubts(found.ids, here), len(here), len(rows))


def _pairs(ids: Tensor, scores: Tensor, items: Sequence[Item]) -> tuple[Pair, ...]:
    """Each pair once. A picture with more than ten such neighbours gives its ten nearest."""
    row, column = (scores >= ALIKE).nonzero(as_tuple=True)
    ends = torch.stack([row, ids[row, column]])
    low, high = ends.min(0).values.tolist(), ends.max(0).values.tolist()
    unique = dict(zip(zip(low, high, strict=True), scores[row, column].tolist(), strict=True))
    ranked = sorted(unique.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Pair(items[a], items[b], cosine, _same(items[a], items[b])) for (a, b), cosine in ranked)


def _same(one: Item, other: Item) -> bool | None:
    first, second = one.get("label"), other.get("label")
    return None if first is None or second is None else first == second


def _doubts(ids: Tensor, items: Sequence[Item], least: float = 0.5) -> tuple[Doubt, ...]:
    """Labels that fewer neighbours carry than another one, by at least half of the neighbours; surest first.

    A class needs three pictures: with fewer, a lone neighbour would decide.
    """
    labels = [item.get("label") for item in items]
    sizes = Counter(label for label in labels if label is not None)
    doubts = []
    for place, near in enumerate(ids.tolist()):
        own = labels[place]
        if own is None or sizes[own] < 3:
            continue
        window = near[: min(NEIGHBOURS, sizes[own] - 1)]
        votes = Counter(labels[i] for i in window if labels[i] is not None)
        others = [(count, str(label)) for label, count in votes.items() if label != own and sizes[label] >= 3]
        if not others:
            continue
        count, claimed = max(others, key=lambda vote: (vote[0], vote[1]))
        mine, theirs = votes[own] / len(window), count / len(window)
        if theirs - mine >= least:
            close = tuple(items[i] for i in window if str(labels[i]) == claimed)[:4]
            doubts.append(Doubt(items[place], claimed, mine, theirs, close))
    return tuple(sorted(doubts, key=lambda d: (d.own - d.other, -len(d.neighbours), int(d.item["id"]))))

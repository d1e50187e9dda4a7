"""Drawing queries and candidates: the same on every machine, whatever the order of the rows.

A hash of (seed, repeat, who asks, id) gives every id a number; those with the smallest are drawn. So a drawing depends
on ids and the seed alone, and no library's random numbers are part of a protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """T queries with their candidates. queries: (T,) int64 rows of the queries; one may stand in several repeats.

    candidates: (T, 1 + C) int64 rows of the gallery, the right one first, -1 where there were too few wrong ones.
    """

    queries: Tensor
    candidates: Tensor

    def __len__(self) -> int:
        return int(self.queries.shape[0])

    @property
    def short(self) -> int:
        """How many queries have fewer wrong candidates than were asked for."""
        return int((self.candidates < 0).any(1).sum())


def checked_drawing(
    ks: Sequence[int], candidates: int | Literal["table"] | None, queries: int, repeats: int, within: str | None
) -> None:
    """ValueError for cut-offs and a drawing that mean nothing."""
    if not ks or any(k < 1 for k in ks):
        raise ValueError(f"ks must be one or more numbers of 1 or larger, got {tuple(ks)}")
    if candidates != "table" and candidates is not None and (isinstance(candidates, str) or candidates < 1):
        raise ValueError(f'candidates must be 1 or larger, "table" or nothing, got {candidates!r}')
    if queries < 1 or repeats < 1:
        raise ValueError(f"queries and repeats must be 1 or larger, got {queries} and {repeats}")
    if within is not None and not isinstance(candidates, int):
        raise ValueError(f"within={within!r} says where wrong candidates are drawn from: say how many candidates")


def draw_trials(
    query_labels: Tensor,
    query_ids: Tensor,
    gallery_labels: Tensor,
    gallery_ids: Tensor,
    *,
    candidates: int,
    queries: int,
    repeats: int,
    seed: int,
    query_kinds: Tensor | None = None,
    gallery_kinds: Tensor | None = None,
    excluded: Tensor | None = None,
) -> Trials:
    """Draw `queries` of the queries that have a right answer, and for each one right and `candidates` wrong ones.

    Labels and ids: (Q,) and (N,) int64; ids unique within each. kinds: (Q,) and (N,) int64, both or none: wrong
    candidates are of the query's kind (a negative kind is nobody's, so such a query has no wrong candidate).
    excluded: (Q,) int64, a gallery id that is no candidate of the query (its reference picture); negative: none.
    Repeat after repeat; within one, queries come in the order of the drawing, none twice.
    """
    found = _Drawing(query_labels, query_ids, gallery_labels, gallery_ids, query_kinds, gallery_kinds, excluded)
    rows, drawn = [], []
    for repeat in range(repeats):
        asking = found.asking(queries, _mixed(seed, repeat, 1))
        rows += asking.tolist()
        drawn += [found.candidates(int(q), candidates, _mixed(seed, repeat, 2)) for q in asking]
    if not rows:
        return Trials(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1 + candidates, dtype=torch.int64))
    return Trials(torch.tensor(rows), torch.from_numpy(np.stack(drawn)))


class _Drawing:
    """Who may ask and who may answer, as numpy columns."""

    def __init__(self, labels: Tensor, ids: Tensor, answers: Tensor, answer_ids: Tensor, *rest: Tensor | None) -> None:
        self.labels, self.ids, self.answers, self.answer_ids = (c.numpy() for c in (labels, ids, answers, answer_ids))
        self.kinds, self.answer_kinds, self.excluded = (None if c is None else c.numpy() for c in rest)
        self._of_label = _groups(self.answers)
        self._of_kind = None if self.answer_kinds is None else _groups(self.answer_kinds)

    def asking(self, count: int, key: int) -> NDArray[np.int64]:
        """Rows of the queries with the smallest hashes, among those with a right answer."""
        able = np.array([len(self._right(q)) > 0 for q in range(len(self.labels))], dtype=np.bool_)
        rows = np.flatnonzero(able)
        chosen: NDArray[np.int64] = rows[_smallest(self.ids[rows], key, count)]
        return chosen

    def candidates(self, query: int, count: int, key: int) -> NDArray[np.int64]:
        """Gallery rows: the right one, then the wrong ones, then -1."""
        key = _mixed(key, int(self.ids[query]))
        right = self._right(query)
        pool = np.arange(len(self.answers))
        if self._of_kind is not None and self.kinds is not None:
            kind = int(self.kinds[query])
            pool = self._of_kind.get(kind, pool[:0]) if kind >= 0 else pool[:0]
        wrong = self._allowed(query, pool[self.answers[pool] != self.labels[query]])
        made = np.full(1 + count, -1, dtype=np.int64)
        made[0] = right[_smallest(self.answer_ids[right], _mixed(key, 1), 1)[0]]
        chosen = wrong[_smallest(self.answer_ids[wrong], _mixed(key, 2), count)]
        made[1 : 1 + len(chosen)] = chosen
        return made

    def _right(self, query: int) -> NDArray[np.int64]:
        return self._allowed(query, self._of_label.get(int(self.labels[query]), np.zeros(0, dtype=np.int64)))

    def _allowed(self, query: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.excluded is None or self.excluded[query] < 0:
            return rows
        kept: NDArray[np.int64] = rows[self.answer_ids[rows] != self.excluded[query]]
        return kept


def _groups(codes: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Code -> its rows, ascending."""
    order = np.argsort(codes, kind="stable")
    names, starts = np.unique(codes[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))


def _smallest(ids: NDArray[np.int64], key: int, count: int) -> NDArray[np.intp]:
    """Places of the `count` ids with the smallest hashes, smallest first; of equal hashes, the smaller id."""
    with np.errstate(over="ignore"):
        mixed = _mix(ids.astype(np.uint64) ^ np.uint64(key))
    if count < len(ids):
        near = np.flatnonzero(mixed <= np.partition(mixed, count - 1)[count - 1])
    else:
        near = np.arange(len(ids))
    return near[np.lexsort((ids[near], mixed[near]))][:count]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) for each number."""
    z = values + np.uint64(_STEP)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def _mixed(*numbers: int) -> int:
    """One key from several whole numbers."""
    key = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for number in numbers:
            key = _mix(key ^ np.array([number & _BITS], dtype=np.uint64))
    return int(key[0])

"""Queries worth a look: the best, the worst, those most surely wrong, and which classes are taken for one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours, Sort
from fashreg.report.groups import fractions

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. right: whether it counts as one; None where nobody can say."""

    item: Item
    score: float
    right: bool | None


@dataclass(frozen=True, slots=True)
class Answered:
    """A query with its first answers, best first, and its own number of the metric that the queries are sorted by.

    asks, finds: what of the items asks, and is found.
    """

    item: Item
    hits: tuple[Hit, ...]
    value: float
    asks: Sort = "image"
    finds: Sort = "image"


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often pictures of one class have another class as their first answer. share: of the class's queries."""

    asked: str
    given: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Answers:
    """What there is to see of the queries. metric: what they are sorted by. told: whose values make an answer right.
    finds: what is found.

    within: (K,) the share of queries with a right answer among the first 1..K; empty where nobody can say.
    """

    metric: str
    told: str
    values: NDArray[np.float64]
    within: NDArray[np.float64]
    best: tuple[Answered, ...]
    worst: tuple[Answered, ...]
    confusing: tuple[Answered, ...]
    confusions: tuple[Confusion, ...]
    wrong_first: int
    finds: Sort = "image"


def read_answers(evaluation: Evaluation, items: Mapping[int, Item], near: Neighbours | None = None) -> Answers | None:
    """Choose the queries; None where the evaluation kept no queries, neighbours or items. near: `neighbours`."""
    near = evaluation.neighbours if near is None else near
    if evaluation.per_query is None or near is None or not items:
        return None
    chosen = sorting_column(evaluation, near)
    if chosen is None:
        return None
    metric, column = chosen
    seen = _look(near, column, items)
    if not len(seen.rows):
        return None
    worst = _spread(np.lexsort((seen.queries, -seen.score, seen.value)), seen)
    best = _spread(np.lexsort((seen.queries, -seen.score, -seen.value)), seen)
    order = np.lexsort((seen.queries, -seen.score))
    confusing = _spread(order[seen.wrong[order] & ~np.isin(order, worst)], seen)

    def shown(rows: Sequence[int]) -> tuple[Answered, ...]:
        return tuple(answered_query(int(seen.rows[row]), float(seen.value[row]), near, items) for row in rows)

    return Answers(
        metric=metric,
        told=near.attribute or evaluation.protocol.label or "label",
        values=seen.value,
        within=_within(seen),
        best=shown(best),
        worst=shown(worst),
        confusing=shown(confusing),
        confusions=_confusions(seen),
        wrong_first=int(seen.wrong.sum()),
        finds=near.finds,
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """The queries that count, as columns: row among the neighbours, id, value of the metric, class and classes of the
    answers (codes into `names`, -1 unknown), score of the first answer."""

    rows: NDArray[np.int64]
    queries: NDArray[np.int64]
    value: NDArray[np.float64]
    own: NDArray[np.int64]
    answers: NDArray[np.int64]
    score: NDArray[np.float64]
    names: list[str]

    @property
    def given(self) -> NDArray[np.int64]:
        """The class of the first answer."""
        none = np.full(len(self.own), -1, dtype=np.int64)
        return self.answers[:, 0] if self.answers.shape[1] else none

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the first answer is surely wrong."""
        known: NDArray[np.bool_] = (self.own >= 0) & (self.given >= 0)
        wrong: NDArray[np.bool_] = known & (self.own != self.given)
        return wrong


def _look(near: Neighbours, values: Mapping[int, float], items: Mapping[int, Item]) -> _Look:
    codes: dict[str, int] = {}
    of = {-1: -1}
    for i, item in items.items():
        name = told(item, near.attribute)
        of[i] = -1 if name is None else codes.setdefault(str(name), len(codes))
    queries = near.query_ids.numpy()
    value = np.array([values.get(q, np.nan) if q in items else np.nan for q in queries.tolist()], dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(value))
    ids, place = np.unique(near.ids.numpy()[rows], return_inverse=True)
    classes = np.array([of.get(i, -1) for i in ids.tolist()], dtype=np.int64)
    score = near.scores[:, :1].numpy()[rows, 0] if near.ids.shape[1] else np.zeros(len(rows))
    return _Look(
        rows,
        queries[rows],
        value[rows],
        np.array([of[q] for q in queries[rows].tolist()], dtype=np.int64),
        classes[place].reshape(len(rows), near.ids.shape[1]),
        np.nan_to_num(score.astype(np.float64), neginf=0.0),
        list(codes),
    )


#: How the metrics of a direction begin, by what asks and what is found.
_DIRECTION: dict[tuple[Sort, Sort], str] = {("image", "text"): "image_to_text/", ("text", "image"): "text_to_image/"}


def sorting_column(evaluation: Evaluation, near: Neighbours) -> tuple[str, dict[int, float]] | None:
    """The metric that these queries are sorted by, and the value of each.

    Where every value of a column is searched by itself (`recall@10[dress]`), each query has that of its own search.
    """
    queries = evaluation.per_query
    assert queries is not None
    metric = sorting_metric(evaluation, near.attribute, _DIRECTION.get((near.asks, near.finds), ""))
    if metric is not None:
        return metric, dict(zip(queries.ids.tolist(), queries.values[metric].tolist(), strict=True))
    own = [name for name in fractions(evaluation) if name.startswith(f"{evaluation.primary}[")]
    if not own or near.attribute is not None:
        return None
    column = np.full(len(queries), np.nan)
    for name in own:
        values = queries.values[name].numpy()
        column = np.where(np.isnan(column), values, column)
    return evaluation.primary, dict(zip(queries.ids.tolist(), column.tolist(), strict=True))


def sorting_metric(evaluation: Evaluation, attribute: str | None, start: str = "") -> str | None:
    """The metric that tells queries apart best: the primary one, unless it only says yes or no. start: of its name."""
    usable = [name for name in fractions(evaluation) if name.startswith(start)]
    names = [n for n in usable if ("[" not in n if attribute is None else n.endswith(f"[{attribute}]"))]
    queries = evaluation.per_query
    if queries is None or not names:
        return None
    kinds = {name: len(np.unique(queries.values[name].numpy())) for name in names}
    return names[0] if kinds[names[0]] > 2 else max(names, key=lambda name: kinds[name])


def told(item: Item, attribute: str | None) -> Any:
    """What decides whether an answer is right: the label, or the value of an attribute."""
    return item.get("label") if attribute is None else (item.get("attributes") or {}).get(attribute)


def answered_query(row: int, value: float, near: Neighbours, items: Mapping[int, Item]) -> Answered:
    """One query with its answers. row: its place among the neighbours."""
    query = items[int(near.query_ids[row])]
    own = told(query, near.attribute)
    hits = []
    for i, score in zip(near.ids[row].tolist(), near.scores[row].tolist(), strict=True):
        if i in items:
            other = told(items[i], near.attribute)
            hits.append(Hit(items[i], score, None if own is None or other is None else own == other))
    return Answered(query, tuple(hits), value, near.asks, near.finds)


def _spread(order: NDArray[np.int64], seen: _Look, most: int = SHOWN) -> list[int]:
    """The first of each class, in order, then the others: six queries of one class would say one thing six times."""
    first: list[int] = []
    others: list[int] = []
    classes: set[int] = set()
    for row in order.tolist():
        own = int(seen.own[row])
        (others if own in classes else first).append(row)
        classes.add(own)
        if len(first) == most:
            break
    return [*first, *others][:most]


def _within(seen: _Look) -> NDArray[np.float64]:
    known = seen.own >= 0
    if not known.any():
        return np.zeros(0)
    right = seen.answers[known] == seen.own[known, None]
    shares: NDArray[np.float64] = np.logical_or.accumulate(right, axis=1).mean(0, dtype=np.float64)
    return shares


def _confusions(seen: _Look, most: int = 12) -> tuple[Confusion, ...]:
    """The commonest pairs of asked and given classes; of equally common ones, by name."""
    asked = np.bincount(seen.own[seen.own >= 0], minlength=len(seen.names))
    pairs = Counter(zip(seen.own[seen.wrong].tolist(), seen.given[seen.wrong].tolist(), strict=True))
    named = [(seen.names[own], seen.names[given], n, n / int(asked[own])) for (own, given), n in pairs.items()]
    return tuple(Confusion(*found) for found in sorted(named, key=lambda c: (-c[2], c[0], c[1]))[:most])

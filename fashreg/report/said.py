"""What a model said of pictures: the classes it named, with what it takes for what, and the captions it wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from fashreg.jobs.evaluation_result import Evaluation, Item
from fashreg.report.heat_map import Cell, heat_map

SHOWN, MOST_CLASSES, MOST_PAIRS = 12, 10, 12


@dataclass(frozen=True, slots=True)
class Named:
    """A picture of another class than was named. answers: the likeliest classes with their probabilities."""

    item: Item
    answers: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """How often pictures of one class were called another. share: of the class's pictures."""

    asked: str
    given: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Classes:
    """What was named. matrix: classes by classes, None for a single one; shown, of: how many of them it has.

    wrong: pictures that were surest called something else. pairs: the commonest mistakes.
    """

    matrix: Markup | None
    shown: int
    of: int
    wrong: tuple[Named, ...]
    pairs: tuple[Pair, ...]
    mistakes: int


@dataclass(frozen=True, slots=True)
class Written:
    """A picture, what was written for it, and what people wrote. value: its own number."""

    item: Item
    written: str
    references: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions nearest to and farthest from what people wrote. metric: by which."""

    metric: str
    best: tuple[Written, ...]
    worst: tuple[Written, ...]
    different: int
    of: int


def read_classes(evaluation: Evaluation, items: Mapping[int, Item]) -> Classes | None:
    """None where nothing was classified, or the pictures were not kept."""
    named = [item for item in _that_count(evaluation, "accuracy", items) if item.get("answers")]
    named = [item for item in named if item.get("label") is not None]
    if not named:
        return None
    told = Counter((str(item["label"]), str(item["answers"][0][0])) for item in named)
    asked = Counter(str(item["label"]) for item in named)
    classes = [name for name, _ in sorted(asked.items(), key=lambda found: (-found[1], found[0]))]
    mistakes = [item for item in named if str(item["answers"][0][0]) != str(item["label"])]
    mistakes.sort(key=lambda item: (-float(item["answers"][0][1]), int(item["id"])))
    pairs = [Pair(a, b, n, n / asked[a]) for (a, b), n in told.items() if a != b]
    return Classes(
        matrix=_matrix(told, asked, classes[:MOST_CLASSES]) if len(classes) > 1 else None,
        shown=min(len(classes), MOST_CLASSES),
        of=len(classes),
        wrong=tuple(Named(item, tuple((str(n), float(s)) for n, s in item["answers"])) for item in mistakes[:SHOWN]),
        pairs=tuple(sorted(pairs, key=lambda pair: (-pair.count, pair.asked, pair.given))[:MOST_PAIRS]),
        mistakes=len(mistakes),
    )


def read_captions(evaluation: Evaluation, items: Mapping[int, Item]) -> Captions | None:
    """None where nothing was written, or the pictures were not kept."""
    queries = evaluation.per_query
    metric = next((name for name in ("rouge_l", evaluation.primary) if queries and name in queries.values), None)
    if queries is None or metric is None:
        return None
    values = dict(zip(queries.ids.tolist(), queries.values[metric].tolist(), strict=True))
    said = [
        Written(item, str(item["written"]), tuple(map(str, item.get("references") or ())), values[i])
        for i, item in items.items()
        if "written" in item and i in values
    ]
    if not said:
        return None
    said.sort(key=lambda one: (-one.value, int(one.item["id"])))
    most = min(SHOWN // 2, (len(said) + 1) // 2)
    return Captions(
        metric, tuple(said[:most]), tuple(said[most:][::-1][:most]), len({w.written for w in said}), len(said)
    )


def _that_count(evaluation: Evaluation, metric: str, items: Mapping[int, Item]) -> list[Item]:
    queries = evaluation.per_query
    if queries is None or metric not in queries.values:
        return []
    column = queries.values[metric]
    return [items[i] for i in queries.ids[~column.isnan()].tolist() if i in items]


def _matrix(told: Counter[tuple[str, str]], asked: Counter[str], classes: list[str]) -> Markup:
    """Share of each class (a row) that was called each class (a column)."""
    rows = []
    for own in classes:
        cells: list[Cell | None] = []
        for given in classes:
            count = told[own, given]
            share = count / asked[own]
            said = f"{own} called {given}: {count} of {asked[own]}"
            cells.append(Cell(share, f"{count}", "own" if own == given else "", said) if count else None)
        rows.append((own, cells))
    return heat_map("What is called what", rows, classes)

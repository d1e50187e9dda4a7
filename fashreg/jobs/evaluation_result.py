"""What an evaluation finds: the numbers, how sure they are, and what lies behind them, query by query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from torch import Tensor

from fashreg.protocol import Protocol

Item = dict[str, Any]
Slice = dict[str, float]  # the metrics of one slice, and its `support`
#: What a row of the table is in an answer: its picture, its text, both, or the picture that it asks for (its own where
#: it asks for none).
Sort = Literal["image", "text", "image+text", "target"]


@dataclass(frozen=True, slots=True, eq=False)
class PerQuery:
    """The metrics before the mean.

    ids: (Q,) int64, ascending, the pictures that asked. values: metric -> (Q,) float64; the metric is their mean over
    what is not NaN (NaN: the query does not count). A metric that joins several attributes gives each picture the part
    it has in the whole, so there the values may leave 0..1 while their mean is still the metric.
    groups: (Q,) int64, queries that are alike (views of one product) and must be drawn together; None: each by itself.
    """

    ids: Tensor
    values: dict[str, Tensor]
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        for name, column in [*self.values.items(), *([] if self.groups is None else [("groups", self.groups)])]:
            if column.shape != self.ids.shape:
                raise ValueError(f"{name} has {tuple(column.shape)} values for {len(self.ids)} queries")

    def __len__(self) -> int:
        return int(self.ids.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The first answers of each query, after re-ranking if there was any.

    query_ids: (Q,) int64. ids: (Q, K) int64, -1 pads. scores: (Q, K) float32, larger is nearer, -inf pads.
    attribute: whose vectors were searched, None for the labels'. asks, finds: what of the rows asks, and is found.
    """

    query_ids: Tensor
    ids: Tensor
    scores: Tensor
    attribute: str | None = None
    asks: Sort = "image"
    finds: Sort = "image"

    def __post_init__(self) -> None:
        if self.ids.shape != self.scores.shape or self.ids.shape[:1] != self.query_ids.shape:
            raise ValueError(
                f"neighbours take query_ids (Q,), ids and scores (Q, K); got {tuple(self.query_ids.shape)}, "
                f"{tuple(self.ids.shape)}, {tuple(self.scores.shape)}"
            )

    def __len__(self) -> int:
        return int(self.query_ids.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class StoredVectors:
    """The vectors that were searched, where they are small enough to keep. vectors: (N, D) float32. ids: (N,) int64."""

    ids: Tensor
    vectors: Tensor

    def __post_init__(self) -> None:
        if self.vectors.shape[:1] != self.ids.shape:
            raise ValueError(f"{tuple(self.vectors.shape)} vectors and {tuple(self.ids.shape)} ids do not go together")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured, and on what.

    metrics: fractions 0..1 by name. primary: the one that matters most. protocol: what must agree to compare results.
    counts: queries, gallery, queries_without_relevant. intervals: metric -> (low, high), 95 % over queries, or over
    groups of them that have the same value in the column `resampled`. slices:
    column -> value -> the metrics of the queries with that value, and their number as `support`.
    model: whose answers these are: `fingerprint` of the encoder, and `repo` and `commit` where it came from the Hub;
    None for vectors of unknown origin.
    items: a row for each picture (of a large table: for those that asked or answered): id, image, label, attributes,
    and where they matter text, target, answers (classes with probabilities), written and references (captions).
    back: the neighbours of the other direction, where texts find pictures (neighbours) and pictures texts.
    The last five are None where they were not kept.
    """

    metrics: dict[str, float]
    primary: str
    protocol: Protocol
    counts: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    resampled: str | None = None
    slices: dict[str, dict[str, Slice]] = field(default_factory=dict)
    model: dict[str, str] | None = None
    per_query: PerQuery | None = None
    neighbours: Neighbours | None = None
    items: list[Item] | None = None
    vectors: StoredVectors | None = None
    back: Neighbours | None = None

    def __repr__(self) -> str:  # a notebook prints it
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"Evaluation({self.protocol.source}, {self.protocol.rule}: {numbers})"

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain JSON, without what lies behind them."""
        return {
            "metrics": self.metrics,
            "primary": self.primary,
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "resampled": self.resampled,
            "counts": self.counts,
            "slices": self.slices,
            "protocol": self.protocol.as_dict(),
            "model": self.model,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """What `as_dict` gave; ValueError for anything else."""
        try:
            found = cls(
                metrics={str(name): _finite(name, value) for name, value in document["metrics"].items()},
                primary=str(_text(document["primary"])),
                protocol=Protocol.from_dict(document["protocol"]),
                counts={str(name): _whole(name, value) for name, value in document["counts"].items()},
                intervals={str(n): (_finite(n, a), _finite(n, b)) for n, (a, b) in _part(document, "intervals")},
                resampled=_text(document.get("resampled")),
                slices={str(c): _slices(values) for c, values in _part(document, "slices")},
                model=_origin(document.get("model")),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"this is not the result of an evaluation ({type(error).__name__}: {error})") from error
        if found.primary not in found.metrics:
            raise ValueError(f"the primary metric {found.primary!r} is not among {', '.join(found.metrics) or 'none'}")
        return found

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{self.protocol.rule}: {_sizes(self.counts)}"]
        left_out = ((self.counts.get(name, 0), said) for name, said in _LEFT_OUT.items())
        lines += [f"  {count} {said[count > 1]}" for count, said in left_out if count]
        width = max([16, *(len(name) for name in self.metrics)])
        lines += [f"  {name:<{width}} {value:.4f}{self._interval(name)}" for name, value in self.metrics.items()]
        for column, values in self.slices.items():
            lines += _slice_lines(column, values, self.primary)
        return "\n".join(lines)

    def _interval(self, metric: str) -> str:
        if metric not in self.intervals:
            return ""
        low, high = self.intervals[metric]
        return f"  [{low:.4f}, {high:.4f}]"


_LEFT_OUT = {
    "queries_without_relevant": (
        "query has no relevant picture and does not count",
        "queries have no relevant picture and do not count",
    ),
    "queries_short_of_candidates": (
        "query has fewer wrong candidates than asked for",
        "queries have fewer wrong candidates than asked for",
    ),
    "queries_of_unknown_class": (
        "picture is of a class that training did not have, and does not count",
        "pictures are of a class that training did not have, and do not count",
    ),
    "pictures_without_text": (
        "picture has no text to be judged by, and does not count",
        "pictures have no text to be judged by, and do not count",
    ),
}


_SEARCHED = {"gallery": "picture", "texts": "text"}


def _sizes(counts: Mapping[str, int]) -> str:
    """Who asked, and what was searched."""
    asked = counts.get("queries", 0)
    if "gallery" not in counts:
        return f"{asked} picture{'s' * (asked != 1)}"
    queries = "1 query" if asked == 1 else f"{asked} queries"
    found = [f"{counts[name]} {what}{'s' * (counts[name] != 1)}" for name, what in _SEARCHED.items() if name in counts]
    return f"{queries}, {' and '.join(found)} searched"


def _part(document: Mapping[str, Any], name: str) -> Any:
    """The entries of a field that older results do not have."""
    return document.get(name, {}).items()


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _origin(value: Any) -> dict[str, str] | None:
    if value is not None and not (isinstance(value, dict) and all(isinstance(v, str) for v in value.values())):
        raise TypeError(f"{value!r} does not say whose answers these are")
    return value


def _slices(values: Mapping[str, Any]) -> dict[str, Slice]:
    return {str(value): {str(m): _number(m, x) for m, x in found.items()} for value, found in values.items()}


def _number(metric: str, value: Any) -> float:
    return _whole(metric, value) if metric == "support" else _finite(metric, value)


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(number := float(value)):
        raise TypeError(f"{name} cannot be {value!r:.60}")
    return number


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError(f"{name} cannot be {value!r:.60}")
    return value


def _slice_lines(column: str, values: Mapping[str, Slice], primary: str, most: int = 10) -> list[str]:
    """The worst slices of a column by the primary metric."""
    worst = sorted(values.items(), key=lambda item: (item[1].get(primary, 0.0), item[0]))
    lines = [f"  {primary} by {column}, worst first ({len(values)} values):"]
    return lines + [
        f"    {v:<22} {x[primary]:.4f}  {int(x['support'])} {'query' if x['support'] == 1 else 'queries'}"
        for v, x in worst[:most]
        if primary in x
    ]

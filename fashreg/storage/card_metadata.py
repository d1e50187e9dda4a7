"""The front matter of a model card: what the Hugging Face Hub reads of it, with the results in its model-index form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from fashreg.licences import hub_licence
from fashreg.own_paths import public
from fashreg.protocol import CAPTIONS, CLASSES, Protocol
from fashreg.strict_yaml import read_yaml

TAGS = ("fashreg", "image-retrieval", "metric-learning", "visual-search", "fashion")
MOST_METRICS = 60
_LONGEST = 2**17  # letters of a head, beyond which it is not looked into
_TASK = {"type": "image-retrieval", "name": "Image retrieval"}
_TASKS = {
    CLASSES: {"type": "image-classification", "name": "Image classification"},
    CAPTIONS: {"type": "image-to-text", "name": "Captions of pictures"},
}
_OWN_RULES = frozenset({"leave-one-out", "queries against gallery"})


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement as plain numbers.

    metrics: fractions by name. intervals: metric -> its 95 % interval. counts: queries, gallery,
    queries_without_relevant. resampled: the column whose groups the intervals are over, None for single queries.
    weakest: (column, value, primary metric, queries) of the worst slice of each column that was reported by.
    """

    metrics: Mapping[str, float]
    primary: str
    protocol: Protocol
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    resampled: str | None = None
    weakest: tuple[tuple[str, str, float, int], ...] = ()


def front_matter(
    name: str, *, licence: str | None = None, measured: Sequence[Measured] = (), base: str | None = None
) -> dict[str, Any]:
    """Plain data for the head of a card. name: of the model. licence: as written. base: repository it was made from.

    measured: one for each evaluation.
    """
    front: dict[str, Any] = {
        "library_name": "fashreg",
        "pipeline_tag": "image-feature-extraction",
        "tags": list(TAGS),
    }
    if licence is not None:
        identifier, own = hub_licence(licence)
        front["license"] = identifier
        front |= {} if own is None else {"license_name": own}
    if base is not None:
        front["base_model"] = base
    if results := [found for one in measured if (found := _results(one))]:
        front["metrics"] = list(dict.fromkeys(metric["type"] for found in results for metric in found["metrics"]))
        front["model-index"] = [{"name": name, "results": results}]
    return front


def licence_in(card: str) -> str | None:
    """The licence that the head of a card states, by its own name where the Hub has none; None where it states none."""
    head = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", card, re.S)
    try:
        front = read_yaml(head.group(1)) if head and len(head.group(1)) <= _LONGEST else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    front = front if isinstance(front, dict) else {}
    said = front.get("license_name") if front.get("license") == "other" else front.get("license")
    return said if isinstance(said, str) else None


def ordered(measured: Measured) -> list[str]:
    """The names of the metrics, the primary one first, those of single attributes last, at most MOST_METRICS."""
    names = sorted(measured.metrics, key=lambda name: (name != measured.primary, "[" in name))
    return names[:MOST_METRICS]


def dataset_name(protocol: Protocol) -> str:
    """What was measured on, without the folders of anybody's machine."""
    return public(protocol.source) or "a table"


def _results(measured: Measured) -> dict[str, Any] | None:
    """One task on one data set with its metrics; None where no metric is a number."""
    protocol = measured.protocol
    metrics = [
        _metric(name, measured.metrics[name], measured.intervals.get(name))
        for name in ordered(measured)
        if math.isfinite(measured.metrics[name])
    ]
    if not metrics:
        return None
    told = {
        "rule": protocol.rule,
        "queries": measured.counts.get("queries"),
        "gallery": measured.counts.get("gallery"),
        "data_sha256": protocol.data,
        "protocol_sha256": protocol.hash,
    }
    dataset = {
        "type": "unknown" if protocol.name in _OWN_RULES else _identifier(protocol.name),
        "name": dataset_name(protocol),
        "split": protocol.split,
        "args": {key: value for key, value in told.items() if value is not None},
    }
    return {
        "task": dict(_TASKS.get(protocol.rule, _TASK)),
        "dataset": {key: value for key, value in dataset.items() if value is not None},
        "metrics": metrics,
    }


def _metric(name: str, value: float, interval: tuple[float, float] | None) -> dict[str, Any]:
    said: dict[str, Any] = {"type": _identifier(name), "name": name, "value": round(float(value), 6)}
    if interval is not None and all(map(math.isfinite, interval)):
        said["args"] = {"interval_95": [round(float(end), 6) for end in interval]}
    return said


def _identifier(text: str) -> str:
    """`map[neck line]` -> `map_neck-line`: letters, digits and @ . _ - only."""
    plain = text.replace("[", "_").replace("/", "_")
    return re.sub(r"[^A-Za-z0-9@._-]+", "-", plain).strip("-_") or "unknown"

"""Measuring a model: embed a table, rank, and let the evaluators judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fashreg.assembly import build, spec_of
from fashreg.config_data import DataConfig
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.functional.neighbours import nearest
from fashreg.functional.relevance import counts, relevance_from_labels
from fashreg.interfaces import Evaluator
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.values import Embedded


@dataclass(frozen=True)
class Evaluation:
    """What was measured and on what. metrics: fractions 0..1 by name. protocol: what must agree to compare results."""

    metrics: dict[str, float]
    primary: str
    protocol: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"metrics": self.metrics, "primary": self.primary, "counts": self.counts, "protocol": self.protocol}

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [
            f"{self.protocol['rule']}: {self.counts['queries']} queries, {self.counts['gallery']} pictures searched"
        ]
        if self.counts["queries_without_relevant"]:
            lines.append(
                f"  {self.counts['queries_without_relevant']} queries have no relevant picture and do not count"
            )
        lines += [f"  {name:<16} {value:.4f}" for name, value in self.metrics.items()]
        return "\n".join(lines)


def evaluate(
    model: Model,
    table: Any,
    *,
    split: str | None = None,
    label: str | None = None,
    task: str | None = None,
    evaluators: Sequence[Any] = ("retrieval",),
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Evaluation:
    """Measure a model on a table.

    model: a model folder or an Encoder. table: path, DataFrame or Table. split: its rows only. label: the label column
    (default: the one the model was trained with, else `label`). evaluators: names, specs or objects.
    options: how to read the table, as `field=value` of the recipe's data section.
    Where the table flags queries and gallery, queries are searched in the gallery; otherwise leave-one-out.
    """
    encoder, trained_with = open_model(model)
    if label is not None:
        options = [*options, f"label={label}"]
    rows, config = open_table(table, trained_with, split=split, options=options)
    made = [build("evaluator", spec) for spec in evaluators]
    return evaluate_table(encoder, rows, made, config=config, task=task, batch_size=batch_size, progress=progress)


def evaluate_table(
    encoder: Encoder,
    table: Table,
    evaluators: Sequence[Evaluator],
    *,
    config: DataConfig | None = None,
    task: str | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Evaluation:
    """Measure an encoder on the rows of a table that is already read."""
    vectors = encoder.embed(table, batch_size=batch_size, task=task, progress=progress)
    return evaluate_vectors(vectors, table, evaluators, config=config, task=task)


def evaluate_vectors(
    vectors: torch.Tensor,
    table: Table,
    evaluators: Sequence[Evaluator],
    *,
    config: DataConfig | None = None,
    task: str | None = None,
) -> Evaluation:
    """Measure embedding vectors (N, D), one per row of the table."""
    if not evaluators:
        raise ValueError("name at least one evaluator")
    metrics: dict[str, float] = {}
    tally: dict[str, int] = {}
    rule = ""
    by_label = [e for e in evaluators if not hasattr(e, "combine")]
    by_attribute = [e for e in evaluators if hasattr(e, "combine")]
    if by_label:
        found, tally, rule = _measure(vectors, table, table.labels, by_label, by_label[0].primary)
        metrics.update(found)
    for evaluator in by_attribute:
        found, attribute_tally, rule = _measure_attributes(vectors, table, evaluator)
        metrics.update(found)
        tally = tally or attribute_tally
    protocol = {
        "data": table.fingerprint,
        "source": table.source,
        "label": None if config is None or not by_label else config.label,
        "attributes": sorted(table.attributes) if by_attribute else [],
        "rule": rule,
        "task": task,
        "evaluators": [spec_of(e, registered=False) for e in evaluators],
    }
    return Evaluation(metrics, evaluators[0].primary, protocol, tally)


def _measure(
    vectors: torch.Tensor, table: Table, codes: NDArray[np.int64], evaluators: Sequence[Evaluator], what: str
) -> tuple[dict[str, float], dict[str, int], str]:
    """Metrics, counts and rule with `codes` (N,) as the labels; rows with code -1 neither ask nor answer."""
    queries, gallery, rule = _queries_and_gallery(vectors, table, codes)
    relevance = relevance_from_labels(queries.labels, queries.ids, gallery.labels, gallery.ids)
    alone = int((counts(relevance) == 0).sum())
    tally = {"queries": len(queries), "gallery": len(gallery), "queries_without_relevant": alone}
    if alone == len(queries):
        raise DataError(
            f"{table.source}: no query has a relevant picture (every label occurs once): {what} has no value"
        )
    depth = max(evaluator.depth(relevance) for evaluator in evaluators)
    rankings = nearest(queries.vectors, gallery.vectors, gallery.ids, min(depth, len(gallery)), query_ids=queries.ids)
    found: dict[str, float] = {}
    for evaluator in evaluators:
        found.update(evaluator(rankings, relevance))
    return found, tally, rule


def _measure_attributes(
    vectors: torch.Tensor, table: Table, evaluator: Any
) -> tuple[dict[str, float], dict[str, int], str]:
    """Each attribute on its own, then together; the number of one attribute is called `map[colour]`."""
    if not table.attributes:
        raise DataError("attribute-retrieval needs attribute columns: --set data.attributes=[COLUMN, ...]")
    numbers: dict[str, dict[str, float]] = {}
    support: dict[str, int] = {}
    tally: dict[str, int] = {}
    rule = ""
    for name, attribute in table.attributes.items():
        numbers[name], tally, rule = _measure(vectors, table, attribute.codes, [evaluator], f"attribute {name!r}")
        support[name] = tally["queries"] - tally["queries_without_relevant"]
    metrics: dict[str, float] = dict(evaluator.combine(numbers, support))
    metrics.update({f"{metric}[{name}]": value for name, found in numbers.items() for metric, value in found.items()})
    return metrics, tally, rule


def _queries_and_gallery(
    vectors: torch.Tensor, table: Table, codes: NDArray[np.int64]
) -> tuple[Embedded, Embedded, str]:
    known = codes >= 0
    if codes is table.labels and not table.has_labels:
        raise DataError(
            f"{table.source}: rows without a label cannot be judged; name the label column, e.g. --label style"
        )
    whole = Embedded(vectors, torch.from_numpy(codes), torch.from_numpy(table.ids))
    if table.query is None or table.gallery is None:
        part = _part(whole, known)
        return part, part, "leave-one-out"
    return _part(whole, table.query & known), _part(whole, table.gallery & known), "queries against gallery"


def _part(whole: Embedded, mask: NDArray[np.bool_]) -> Embedded:
    if not mask.any():
        raise DataError("the query or gallery flags of the table leave no row; see is_query and is_gallery")
    where = torch.from_numpy(np.flatnonzero(mask))
    return Embedded(whole.vectors[where], whole.labels[where], whole.ids[where])

"""Measuring a model: embed a table, rank, and let the evaluators judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fashreg.assembly import build, spec_of
from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.functional.neighbours import nearest
from fashreg.functional.relevance import counts, relevance_from_labels
from fashreg.interfaces import Evaluator
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.protocol import LEAVE_ONE_OUT, QUERIES_AGAINST_GALLERY, Protocol
from fashreg.training.features import embed_table
from fashreg.values import Embedded, Rankings, Relevance


def evaluate(
    model: Model,
    table: Any,
    *,
    split: str | None = None,
    label: str | None = None,
    task: str | None = None,
    evaluators: Sequence[Any] | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Evaluation:
    """Measure a model on a table.

    model: a model folder or an Encoder. table: path, DataFrame or Table. split: its rows only. label: the label column
    (default: the one the model was trained with, else `label`). evaluators: names, specs or objects (default: those the
    model was trained with, else `retrieval`).
    options: how to read the table, as `field=value` of the recipe's data section.
    Where the table flags queries and gallery, queries are searched in the gallery; otherwise leave-one-out.
    """
    encoder, trained = open_model(model)
    if label is not None:
        options = [*options, f"label={label}"]
    rows, config = open_table(table, trained.data, split=split, options=options)
    made = [build("evaluator", spec) for spec in evaluators or trained.evaluators]
    return evaluate_table(encoder, rows, made, config=config, task=task, batch_size=batch_size, progress=progress)


def evaluate_table(
    encoder: Encoder,
    table: Table,
    evaluators: Sequence[Evaluator],
    *,
    config: DataConfig | None = None,
    task: str | None = None,
    batch_size: int = 64,
    trainer: TrainerConfig | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure an encoder on the rows of a table that is already read.

    trainer: during training; with its `cache: features`, what is frozen runs once for all evaluations.
    """
    tasks = set(encoder.head.tasks)
    kept: dict[str | None, torch.Tensor] = {}

    def vectors(attribute: str | None) -> torch.Tensor:
        chosen = attribute if attribute in tasks else task
        if chosen not in kept:
            kept.clear()  # one attribute's vectors at a time
            if trainer is None:
                kept[chosen] = encoder.embed(table, batch_size=batch_size, task=chosen, progress=progress)
            else:
                kept[chosen] = embed_table(encoder, table, trainer, batch_size=batch_size, task=chosen)
        return kept[chosen]

    return _judge(vectors, table, evaluators, config, task)


def evaluate_vectors(
    vectors: torch.Tensor,
    table: Table,
    evaluators: Sequence[Evaluator],
    *,
    config: DataConfig | None = None,
) -> Evaluation:
    """Measure embedding vectors (N, D), one per row of the table."""
    return _judge(lambda attribute: vectors, table, evaluators, config, None)


Vectors = Callable[[str | None], torch.Tensor]


def _judge(
    vectors: Vectors, table: Table, evaluators: Sequence[Evaluator], config: DataConfig | None, task: str | None
) -> Evaluation:
    """All evaluators on one table. vectors: of an attribute, or of the labels (None)."""
    if not evaluators:
        raise ValueError("name at least one evaluator")
    by_label = [e for e in evaluators if not hasattr(e, "combine")]
    by_attribute = [e for e in evaluators if hasattr(e, "combine")]
    metrics: dict[str, float] = {}
    tally: dict[str, int] = {}
    rule = ""
    if by_label:
        seen = _see(vectors(None), table, table.labels, by_label)
        if seen.alone == len(seen.relevance):
            raise DataError(f"{table.source}: every label occurs once, so no query has a relevant picture to find")
        for evaluator in by_label:
            metrics.update(evaluator(seen.rankings, seen.relevance))
        tally, rule = seen.tally, seen.rule
    for evaluator in by_attribute:
        found, attribute_tally, rule = _judge_attributes(vectors, table, evaluator)
        metrics.update(found)
        tally = {**attribute_tally, **tally}
    protocol = Protocol(
        name=rule,
        data=table.fingerprint,
        source=table.source,
        label=None if config is None or not by_label else config.label,
        attributes=tuple(sorted(table.attributes)) if by_attribute else (),
        rule=rule,
        task=task,
        evaluators=tuple(spec_of(e, registered=False) for e in evaluators),
    )
    return Evaluation(metrics, evaluators[0].primary, protocol, tally)


@dataclass(frozen=True)
class _Seen:
    """What evaluators look at, and how many queries have nothing to find."""

    rankings: Rankings
    relevance: Relevance
    gallery: int
    alone: int
    rule: str

    @property
    def tally(self) -> dict[str, int]:
        return {"queries": len(self.relevance), "gallery": self.gallery, "queries_without_relevant": self.alone}


def _see(vectors: torch.Tensor, table: Table, codes: NDArray[np.int64], evaluators: Sequence[Evaluator]) -> _Seen:
    """Rank with `codes` (N,) as the labels; rows with code -1 neither ask nor answer."""
    queries, gallery, rule = _queries_and_gallery(vectors, table, codes)
    relevance = relevance_from_labels(queries.labels, queries.ids, gallery.labels, gallery.ids)
    depth = max(evaluator.depth(relevance) for evaluator in evaluators)
    rankings = nearest(queries.vectors, gallery.vectors, gallery.ids, depth, query_ids=queries.ids)
    return _Seen(rankings, relevance, len(gallery), int((counts(relevance) == 0).sum()), rule)


def _judge_attributes(vectors: Vectors, table: Table, evaluator: Any) -> tuple[dict[str, float], dict[str, int], str]:
    """Each attribute on its own, then together; the number of one attribute is called `map[colour]`.

    An attribute of which no query has a relevant picture is left out and counted.
    """
    if not table.attributes:
        raise DataError("attribute-retrieval needs attribute columns: --set data.attributes=[COLUMN, ...]")
    numbers: dict[str, dict[str, float]] = {}
    support: dict[str, int] = {}
    tally = {"queries": 0, "gallery": 0, "queries_without_relevant": 0}
    rule = ""
    for name, attribute in table.attributes.items():
        seen = _see(vectors(name), table, attribute.codes, [evaluator])
        rule = seen.rule
        tally = {key: tally[key] + value for key, value in seen.tally.items()}
        if seen.alone < len(seen.relevance):
            numbers[name] = evaluator(seen.rankings, seen.relevance)
            support[name] = evaluator.support(seen.relevance)
    if not numbers:
        raise DataError(f"{table.source}: no attribute has two pictures of one value, so there is nothing to find")
    tally["attributes_left_out"] = len(table.attributes) - len(numbers)
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
        return part, part, LEAVE_ONE_OUT
    return _part(whole, table.query & known), _part(whole, table.gallery & known), QUERIES_AGAINST_GALLERY


def _part(whole: Embedded, mask: NDArray[np.bool_]) -> Embedded:
    if not mask.any():
        raise DataError("the query or gallery flags of the table leave no row; see is_query and is_gallery")
    where = torch.from_numpy(np.flatnonzero(mask))
    return Embedded(whole.vectors[where], whole.labels[where], whole.ids[where])

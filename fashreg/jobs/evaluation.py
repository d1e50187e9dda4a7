"""Measuring a model: embed a table, rank, let the evaluators judge, and say how sure the numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from fashreg.assembly import build
from fashreg.config_data import DataConfig
from fashreg.config_tasks import data_of
from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.interfaces import Evaluator
from fashreg.jobs.evaluation_asker import NEIGHBOURS, Asker
from fashreg.jobs.evaluation_judging import Asking, Judging
from fashreg.jobs.evaluation_kinds import PICTURES, evaluators_for, found_by, judges
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.jobs.reranking import rerankers_of
from fashreg.jobs.task_vectors import TaskVectors

__all__ = ["Asking", "Evaluation", "evaluate", "evaluate_table", "evaluate_vectors"]


def evaluate(
    model: Model,
    table: Any,
    *,
    split: str | None = None,
    label: str | None = None,
    task: str | None = None,
    evaluators: Sequence[Any] | None = None,
    rerankers: Any = None,
    source: str | None = None,
    slices: Sequence[str] = (),
    resample: str | None = None,
    beams: int = 1,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Evaluation:
    """Measure a model on a table.

    model: a model folder or an Encoder. table: path, DataFrame or Table. split: its rows only. label: the label column
    (default: the one the model was trained with, else `label`). evaluators, rerankers: names, specs or objects
    (default: those the model was trained with, else `retrieval` and none). source: a column (camera, shop); pictures
    of the query's own source are neither found nor missed. slices: columns whose values are reported one by one.
    resample: a column (product) whose groups of queries are drawn whole for the intervals, because they are alike.
    task: of a model that has several; of one whose tasks have kinds, it chooses the evaluator of its kind. beams: of
    captions. options: how to read the table, as `field=value` of the recipe's data section.
    Where the table flags queries and gallery, queries are searched in the gallery; otherwise leave-one-out.
    """
    encoder, trained = open_model(model)
    if label is not None:
        options = [*options, f"label={label}"]
    chosen = list(evaluators or evaluators_for(encoder, task, trained.tasks, trained.evaluators))
    made = [build("evaluator", spec) for spec in chosen]
    of_task = trained.tasks.get(task or next(iter(trained.tasks), "")) if task or len(trained.tasks) == 1 else None
    data = trained.data if of_task is None or trained.data is None else data_of(trained.data, of_task)
    rows, config = open_table(table, data, split=split, options=options, need_label=any(map(_needs_label, made)))
    usual = trained.rerankers if any(judges(one) == PICTURES for one in made) else ()
    asking = Asking(split, source, slices, resample, rerankers_of(usual if rerankers is None else rerankers), beams)
    return evaluate_table(
        encoder, rows, made, config=config, task=task, batch_size=batch_size, progress=progress, asking=asking
    )


def _needs_label(evaluator: Any) -> bool:
    """Whether every row must have a label: where pictures find pictures by label. Others can do without, or count."""
    by_attribute = hasattr(evaluator, "combine") or hasattr(evaluator, "relevance_from_attributes")
    return judges(evaluator) == PICTURES and not by_attribute


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
    asking: Asking | None = None,
) -> Evaluation:
    """Measure an encoder on the rows of a table that is already read.

    trainer: during training; with its `cache: features`, what is frozen runs once for all evaluations. Attributes that
    are tasks of the head share a pass of the trunk, as many as fit in memory. What an evaluator says it `judges` is
    asked for: texts and pictures with texts are embedded, pictures are classified or described.
    """
    tasks = encoder.head.tasks
    by_pictures = [e for e in evaluators if judges(e) == PICTURES]
    asked = [
        a if a in tasks else task for e in by_pictures for a in (table.attributes if hasattr(e, "combine") else [task])
    ]
    made = TaskVectors(encoder, table, asked, trainer=trainer, batch_size=batch_size, progress=progress)

    def vectors(attribute: str | None) -> Tensor:
        return made(attribute if attribute in tasks else task)

    chosen = asking or Asking()
    first = NEIGHBOURS if chosen.details else 0
    asker = Asker(encoder, table, task, batch_size, progress, chosen.beams, first)
    judging = Judging(vectors, table, chosen, lambda evaluator: found_by(asker, evaluator))
    found = judging.evaluation(evaluators, config, task)
    if not chosen.details:
        return found
    beams = {"beams": str(chosen.beams)} if any(judges(e) == "captions" for e in evaluators) else {}
    return replace(found, model={**_origin(encoder), **beams})


def _origin(encoder: Encoder) -> dict[str, str]:
    """Whose answers an evaluation holds: the encoder by its weights, and where on the Hub it came from."""
    known = getattr(encoder, "origin", None)
    told = {name: getattr(known, name, None) for name in ("repo", "commit")}
    return {"fingerprint": encoder.fingerprint(), **{name: str(value) for name, value in told.items() if value}}


def evaluate_vectors(
    vectors: Tensor,
    table: Table,
    evaluators: Sequence[Evaluator],
    *,
    config: DataConfig | None = None,
    asking: Asking | None = None,
) -> Evaluation:
    """Measure embedding vectors (N, D), one per row of the table. They may lie in a memory map."""
    return Judging(lambda attribute: vectors, table, asking or Asking()).evaluation(evaluators, config, None)

"""Measuring a model: embed a table, rank, let the evaluators judge, and say how sure the numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from fashreg.assembly import build, spec_of
from fashreg.config_data import DataConfig
from fashreg.config_trainer import TrainerConfig
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError
from fashreg.interfaces import Evaluator, Reranker
from fashreg.jobs.evaluation_attributes import OfAttribute
from fashreg.jobs.evaluation_overlap import overlap_answer
from fashreg.jobs.evaluation_question import Codes, Question, column_codes, question_of
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.evaluation_result import Evaluation, Neighbours
from fashreg.jobs.evaluation_tally import Tally, stored_vectors
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.jobs.reranking import rerankers_of
from fashreg.jobs.task_vectors import TaskVectors
from fashreg.protocol import Protocol
from fashreg.values import Rankings

__all__ = ["Evaluation", "evaluate", "evaluate_table", "evaluate_vectors"]

_NEIGHBOURS = 10

Vectors = Callable[[str | None], Tensor]


@dataclass(frozen=True, slots=True)
class Asking:
    """How to ask. split: what the rows are called. source: column whose equal values exclude one another. slices:
    columns to report by. resample: column whose groups are drawn whole for the intervals. rerankers: in order.
    details: also intervals, neighbours, and what lies behind the numbers.
    """

    split: str | None = None
    source: str | None = None
    slices: Sequence[str] = ()
    resample: str | None = None
    rerankers: Sequence[Reranker] = ()
    details: bool = True


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
    options: how to read the table, as `field=value` of the recipe's data section.
    Where the table flags queries and gallery, queries are searched in the gallery; otherwise leave-one-out.
    """
    encoder, trained = open_model(model)
    if label is not None:
        options = [*options, f"label={label}"]
    made = [build("evaluator", spec) for spec in evaluators or trained.evaluators]
    need_label = any(not hasattr(one, "combine") and not hasattr(one, "relevance_from_attributes") for one in made)
    rows, config = open_table(table, trained.data, split=split, options=options, need_label=need_label)
    chosen = trained.rerankers if rerankers is None else rerankers
    asking = Asking(split, source, slices, resample, rerankers_of(chosen))
    return evaluate_table(
        encoder, rows, made, config=config, task=task, batch_size=batch_size, progress=progress, asking=asking
    )


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
    are tasks of the head share a pass of the trunk, as many as fit in memory.
    """
    tasks = encoder.head.tasks
    asked = [
        a if a in tasks else task for e in evaluators for a in (table.attributes if hasattr(e, "combine") else [task])
    ]
    made = TaskVectors(encoder, table, asked, trainer=trainer, batch_size=batch_size, progress=progress)

    def vectors(attribute: str | None) -> Tensor:
        return made(attribute if attribute in tasks else task)

    chosen = asking or Asking()
    found = _Judging(vectors, table, chosen).evaluation(evaluators, config, task)
    return replace(found, model=_origin(encoder)) if chosen.details else found


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
    return _Judging(lambda attribute: vectors, table, asking or Asking()).evaluation(evaluators, config, None)


@dataclass(slots=True)
class _Judging:
    """All evaluators on one table. vectors: of an attribute, or of the labels (None)."""

    vectors: Vectors
    table: Table
    asking: Asking
    sources: Codes | None = None
    tally: Tally = field(default_factory=Tally)

    def evaluation(self, evaluators: Sequence[Evaluator], config: DataConfig | None, task: str | None) -> Evaluation:
        if not evaluators:
            raise ValueError("name at least one evaluator")
        asking, table, tally = self.asking, self.table, self.tally
        if asking.source is not None:
            self.sources = column_codes(table, asking.source, "--source")[0]
        tally.slices_of(table, asking.slices)
        if asking.resample is not None:
            tally.resample(table, asking.resample)
        by_attribute = {place: e for place, e in enumerate(evaluators) if hasattr(e, "combine")}
        by_overlap = {place: e for place, e in enumerate(evaluators) if hasattr(e, "relevance_from_attributes")}
        by_label = {place: e for place, e in enumerate(evaluators) if place not in {**by_attribute, **by_overlap}}
        if by_label:
            self._by_label(by_label)
        for place, evaluator in by_overlap.items():
            self._by_overlap(evaluator, place)
        for place, evaluator in by_attribute.items():
            self._by_attribute(evaluator, place)
        protocol = Protocol(
            name=table.protocol_name or tally.rule,
            data=table.fingerprint,
            source=table.source,
            split=asking.split,
            label=None if config is None or not by_label else config.label,
            attributes=tuple(sorted(table.attributes)) if by_attribute or by_overlap else (),
            rule=tally.rule,
            exclusions=("same-id", *(() if asking.source is None else (f"same-source:{asking.source}",))),
            task=task,
            rerankers=tuple(spec_of(r, registered=False) for r in asking.rerankers),
            evaluators=tuple(spec_of(e, registered=False) for e in evaluators),
        )
        return tally.evaluation(table, protocol, evaluators[0].primary, details=asking.details)

    def _by_label(self, evaluators: Mapping[int, Evaluator]) -> None:
        question = self._question(None, self.table.labels)
        if question.alone == len(question.relevance):
            which = "every label occurs once" if self.sources is None else "no label occurs in two sources"
            raise DataError(f"{self.table.source}: {which}, so no query has a relevant picture to find")
        found = answer(question, list(evaluators.values()), self.asking.rerankers, first=self._first)
        self.tally.add_labels(question, found, list(evaluators))
        self._keep(question, found.first, None)

    def _by_overlap(self, evaluator: Evaluator, place: int) -> None:
        asked = (self.vectors(None), self.table, self.sources, evaluator, self.asking.rerankers)
        question, found = overlap_answer(*asked, first=self._first)
        self.tally.add_labels(question, found, [place])
        self._keep(question, found.first, None)

    def _by_attribute(self, evaluator: Any, place: int) -> None:
        """Each attribute on its own, then together. One of which no query has a relevant picture is left out."""
        table = self.table
        if not table.attributes:
            raise DataError("attribute-retrieval needs attribute columns: --set data.attributes=[COLUMN, ...]")
        found: dict[str, OfAttribute] = {}
        for name, attribute in table.attributes.items():
            question = self._question(name, attribute.codes)
            self.tally.add_question(question)
            if question.alone < len(question.relevance):
                seen = answer(question, [evaluator], self.asking.rerankers, first=self._first)
                support = evaluator.support(question.relevance)
                found[name] = OfAttribute(seen.numbers[0], support, question.queries.ids, seen.values[0])
                self._keep(question, seen.first, name)
        if not found:
            raise DataError(f"{table.source}: no attribute has two pictures of one value, so there is nothing to find")
        self.tally.add_attributes(evaluator, found, len(table.attributes) - len(found), place)

    def _question(self, attribute: str | None, codes: Codes) -> Question:
        return question_of(self.vectors(attribute), self.table, codes, self.sources)

    @property
    def _first(self) -> int:
        """Ranks to keep: once, of the first question."""
        return _NEIGHBOURS if self.asking.details and self.tally.neighbours is None else 0

    def _keep(self, question: Question, first: Rankings | None, attribute: str | None) -> None:
        if first is not None:
            self.tally.neighbours = Neighbours(question.queries.ids, first.ids, first.scores, attribute)
            self.tally.vectors = stored_vectors(self.vectors(attribute), self.table)

"""All evaluators on one table: which questions they ask, and what comes together from the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fashreg.assembly import spec_of
from fashreg.config_data import DataConfig
from fashreg.data.table import Table
from fashreg.errors import DataError
from fashreg.interfaces import Evaluator, Reranker
from fashreg.jobs.evaluation_attributes import OfAttribute
from fashreg.jobs.evaluation_kinds import PICTURES, judges, protocol_name
from fashreg.jobs.evaluation_overlap import overlap_answer
from fashreg.jobs.evaluation_parts import Found
from fashreg.jobs.evaluation_question import Codes, Question, column_codes, question_of
from fashreg.jobs.evaluation_ranking import answer
from fashreg.jobs.evaluation_result import Evaluation, Neighbours
from fashreg.jobs.evaluation_tally import Tally, stored_vectors
from fashreg.protocol import Protocol
from fashreg.values import Rankings

_NEIGHBOURS = 10

Vectors = Callable[[str | None], Tensor]


@dataclass(frozen=True, slots=True)
class Asking:
    """How to ask. split: what the rows are called. source: column whose equal values exclude one another. slices:
    columns to report by. resample: column whose groups are drawn whole for the intervals. rerankers: in order.
    beams: of captions. details: also intervals, neighbours, and what lies behind the numbers.
    """

    split: str | None = None
    source: str | None = None
    slices: Sequence[str] = ()
    resample: str | None = None
    rerankers: Sequence[Reranker] = ()
    beams: int = 1
    details: bool = True


@dataclass(slots=True)
class Judging:
    """All evaluators on one table. vectors: of an attribute, or of the labels (None). ask: what finds out for an
    evaluator that judges something else than pictures found by pictures; None where there are only vectors.
    """

    vectors: Vectors
    table: Table
    asking: Asking
    ask: Callable[[Any], Found] | None = None
    sources: Codes | None = None
    tally: Tally = field(default_factory=Tally)

    def evaluation(self, evaluators: Sequence[Evaluator], config: DataConfig | None, task: str | None) -> Evaluation:
        """What they find together; the first one's primary metric is the evaluation's."""
        if not evaluators:
            raise ValueError("name at least one evaluator")
        asking, table, tally = self.asking, self.table, self.tally
        if asking.source is not None:
            self.sources = column_codes(table, asking.source, "--source")[0]
        tally.slices_of(table, asking.slices)
        if asking.resample is not None:
            tally.resample(table, asking.resample)
        others = {place: e for place, e in enumerate(evaluators) if judges(e) != PICTURES}
        by_attribute = {place: e for place, e in enumerate(evaluators) if hasattr(e, "combine")}
        by_overlap = {place: e for place, e in enumerate(evaluators) if hasattr(e, "relevance_from_attributes")}
        known = {**by_attribute, **by_overlap, **others}
        by_label = {place: e for place, e in enumerate(evaluators) if place not in known}
        if by_label:
            self._by_label(by_label)
        for place, evaluator in by_overlap.items():
            self._by_overlap(evaluator, place)
        for place, evaluator in by_attribute.items():
            self._by_attribute(evaluator, place)
        for place, evaluator in others.items():
            self._by_question(evaluator, place)
        labelled = by_label or any(judges(e) != "captions" for e in others.values())
        protocol = Protocol(
            name=protocol_name(table, evaluators) or tally.rule,
            data=table.fingerprint,
            source=table.source,
            split=asking.split,
            label=None if config is None or not labelled else config.label,
            attributes=tuple(sorted(table.attributes)) if by_attribute or by_overlap else (),
            rule=tally.rule,
            exclusions=(
                *(() if len(others) == len(evaluators) else ("same-id",)),
                *(() if asking.source is None else (f"same-source:{asking.source}",)),
            ),
            task=task,
            rerankers=tuple(spec_of(r, registered=False) for r in asking.rerankers),
            evaluators=tuple(spec_of(e, registered=False) for e in evaluators),
        )
        return tally.evaluation(table, protocol, evaluators[0].primary, details=asking.details)

    def _by_question(self, evaluator: Evaluator, place: int) -> None:
        """Texts, pictures with texts, classes, captions."""
        if self.ask is None:
            raise ValueError(
                f"{type(evaluator).__name__} judges {judges(evaluator)}, which vectors alone cannot answer"
            )
        if self.asking.source is not None or self.asking.rerankers:
            what = "--source" if self.asking.source is not None else "a reranker"
            raise DataError(f"{what} is for pictures that find pictures, and {judges(evaluator)} is something else")
        self.tally.add(self.ask(evaluator), place)

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

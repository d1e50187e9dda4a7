"""Collecting what evaluators found, question by question, into one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.data.table import Table
from fashreg.functional.uncertainty import bootstrap_intervals
from fashreg.jobs.evaluation_attributes import OfAttribute, columns, combined
from fashreg.jobs.evaluation_question import Question, column_codes
from fashreg.jobs.evaluation_ranking import Answer
from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours, PerQuery, StoredVectors
from fashreg.jobs.evaluation_slices import ByValue, attribute_slices, codes_by_id, label_slices, merged
from fashreg.protocol import Protocol

_VECTOR_BYTES = 64 * 2**20  # vectors up to this size are kept with an evaluation
_ITEMS = 200_000  # of larger tables only the rows that asked or were answered are kept


@dataclass(slots=True)
class Tally:
    """What is known so far. rule, counts, neighbours, vectors, resampled: as in `Evaluation`."""

    rule: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    neighbours: Neighbours | None = None
    vectors: StoredVectors | None = None
    resampled: str | None = None
    _groups: Tensor | None = None
    _found: dict[int, _Found] = field(default_factory=dict)
    _of_attributes: dict[str, int] = field(default_factory=dict)
    _slices: dict[str, _Column] = field(default_factory=dict)

    def slices_of(self, table: Table, names: Sequence[str]) -> None:
        """Report by these columns from now on."""
        for name in names:
            codes, values = column_codes(table, name, "--slice")
            self._slices[name] = _Column(torch.from_numpy(table.ids), torch.from_numpy(codes), values)

    def resample(self, table: Table, name: str) -> None:
        """Draw rows of equal value in this column together; a row without a value is drawn by itself."""
        codes = torch.from_numpy(column_codes(table, name, "--resample")[0])
        alone = torch.arange(len(codes)) + (int(codes.max()) + 1)
        self.resampled, self._groups = name, torch.where(codes >= 0, codes, alone)

    def add_labels(self, question: Question, found: Answer, places: Sequence[int]) -> None:
        """What evaluators of labels found on one question. places: where each stands among all evaluators."""
        self.rule, self.counts = question.rule, {**question.tally, **self.counts}
        ids = question.queries.ids
        for place, numbers, values in zip(places, found.numbers, found.values, strict=True):
            self._found[place] = _Found(numbers, ids, values or {})
            for column in self._slices.values():
                column.parts[place] = label_slices(values or {}, column.of(ids))

    def add_question(self, question: Question) -> None:
        """The size of the question about one attribute."""
        self.rule = question.rule
        for name, count in question.tally.items():
            self._of_attributes[name] = self._of_attributes.get(name, 0) + count

    def add_attributes(self, evaluator: Any, found: Mapping[str, OfAttribute], left_out: int, place: int) -> None:
        """What one evaluator found for all attributes; the sizes of their questions were added before."""
        self.counts = {**self._of_attributes, "attributes_left_out": left_out, **self.counts}
        self._of_attributes = {}
        ids = torch.unique(torch.cat([of.ids for of in found.values()]))
        self._found[place] = _Found(combined(evaluator, found), ids, columns(evaluator, found, ids))
        for column in self._slices.values():
            codes = {attribute: column.of(of.ids) for attribute, of in found.items()}
            column.parts[place] = attribute_slices(evaluator, found, codes)

    def evaluation(self, table: Table, protocol: Protocol, primary: str, *, details: bool) -> Evaluation:
        """Everything together. details: also intervals, and what lies behind the numbers.

        Of two evaluators that give a metric of the same name, the one named first has it.
        """
        metrics: dict[str, float] = {}
        columns: dict[str, tuple[Tensor, Tensor]] = {}
        for _, found in sorted(self._found.items()):
            fresh = [name for name in found.numbers if name not in metrics]
            metrics.update({name: found.numbers[name] for name in fresh})
            columns.update({name: (found.ids, found.values[name]) for name in fresh if name in found.values})
        per_query = _per_query(columns, table, self._groups) if details and columns else None
        return Evaluation(
            metrics=metrics,
            primary=primary,
            protocol=protocol,
            counts=self.counts,
            intervals={} if per_query is None else _intervals(per_query),
            resampled=None if per_query is None else self.resampled,
            slices={name: merged(column.parts, column.values) for name, column in self._slices.items()},
            per_query=per_query,
            neighbours=self.neighbours,
            items=_items(_shown(table, self.neighbours)) if details else None,
            vectors=self.vectors,
        )


@dataclass(slots=True)
class _Found:
    """What one evaluator found. ids: (Q,) of the queries. values: metric -> (Q,) before the mean, where it has them."""

    numbers: dict[str, float]
    ids: Tensor
    values: dict[str, Tensor]


@dataclass(slots=True)
class _Column:
    """A column to report by. ids, codes: (N,) of the table's rows. values: of each code. parts: by evaluator."""

    ids: Tensor
    codes: Tensor
    values: list[str]
    parts: dict[int, ByValue] = field(default_factory=dict)

    def of(self, ids: Tensor) -> Tensor:
        """The codes of some rows."""
        return codes_by_id(self.ids, self.codes, ids)


def stored_vectors(vectors: Tensor, table: Table) -> StoredVectors | None:
    """The vectors of the table's rows (N, D), None when they are too many to keep beside the numbers."""
    if vectors.numel() * 4 > _VECTOR_BYTES:
        return None
    return StoredVectors(torch.from_numpy(table.ids), vectors.detach().cpu().float())


def _per_query(columns: Mapping[str, tuple[Tensor, Tensor]], table: Table, groups: Tensor | None) -> PerQuery:
    """One row for each picture that asked anything. columns: metric -> ids and values. groups: (N,) or None."""
    ids = torch.unique(torch.cat([ids for ids, _ in columns.values()]))
    values = {}
    for name in sorted(columns):
        theirs, column = columns[name]
        values[name] = torch.full((len(ids),), torch.nan, dtype=torch.float64)
        values[name][torch.searchsorted(ids, theirs)] = column.double()
    return PerQuery(ids, values, None if groups is None else codes_by_id(torch.from_numpy(table.ids), groups, ids))


def _intervals(per_query: PerQuery) -> dict[str, tuple[float, float]]:
    values = torch.stack(list(per_query.values.values()), 1)
    found = bootstrap_intervals(values, groups=per_query.groups).tolist()
    return {name: (low, high) for name, (low, high) in zip(per_query.values, found, strict=True)}


def _shown(table: Table, neighbours: Neighbours | None, most: int = _ITEMS) -> Table:
    """The rows to keep as items: all, or of a large table those that asked and their first answers."""
    if len(table) <= most or neighbours is None:
        return table
    return table.take(np.isin(table.ids, torch.cat([neighbours.query_ids, neighbours.ids.flatten()]).numpy()))


def _items(table: Table) -> list[Item]:
    """A row for each picture of the table."""
    rows: list[Item] = []
    for row, (number, path, code) in enumerate(
        zip(table.ids.tolist(), table.paths, table.labels.tolist(), strict=True)
    ):
        item: Item = {"id": number, "image": path, "label": table.label_names[code] if code >= 0 else None}
        item["attributes"] = {
            name: attribute.names[value] if (value := int(attribute.codes[row])) >= 0 else None
            for name, attribute in table.attributes.items()
        }
        for flag, column in (("query", table.query), ("gallery", table.gallery)):
            if column is not None:
                item[flag] = bool(column[row])
        rows.append(item)
    return rows

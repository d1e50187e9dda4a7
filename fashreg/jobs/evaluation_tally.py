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
from fashreg.jobs.evaluation_parts import Found
from fashreg.jobs.evaluation_question import Question, column_codes
from fashreg.jobs.evaluation_ranking import Answer
from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours, PerQuery, StoredVectors
from fashreg.jobs.evaluation_slices import ByValue, attribute_slices, codes_by_id, label_slices, merged
from fashreg.jobs.evaluation_things import targets_of
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
    back: Neighbours | None = None
    said: dict[int, dict[str, Any]] = field(default_factory=dict)
    _texts: bool = False
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

    def add(self, found: Found, place: int) -> None:
        """What an evaluator of texts, classes or captions found."""
        self.rule = self.rule or found.rule
        self.counts = {**found.counts, **self.counts}
        self._found[place] = _Found(found.numbers, found.ids, found.values, found.ranges)
        for column in self._slices.values():
            column.parts[place] = found.slices(column.of)
        self._texts = True
        for i, more in found.said.items():
            self.said.setdefault(i, {}).update(more)
        if self.neighbours is None and found.neighbours:
            self.neighbours, self.vectors = found.neighbours[0], _small_enough(found.vectors)
            self.back = found.neighbours[1] if len(found.neighbours) > 1 else None

    def evaluation(self, table: Table, protocol: Protocol, primary: str, *, details: bool) -> Evaluation:
        """Everything together. details: also intervals, and what lies behind the numbers.

        Of two evaluators that give a metric of the same name, the one named first has it.
        """
        metrics: dict[str, float] = {}
        ranges: dict[str, tuple[float, float]] = {}
        columns: dict[str, tuple[Tensor, Tensor]] = {}
        for _, found in sorted(self._found.items()):
            fresh = [name for name in found.numbers if name not in metrics]
            metrics.update({name: found.numbers[name] for name in fresh})
            ranges.update({name: found.ranges[name] for name in fresh if name in found.ranges})
            columns.update({name: (found.ids, found.values[name]) for name in fresh if name in found.values})
        per_query = _per_query(columns, table, self._groups) if details and columns else None
        return Evaluation(
            metrics=metrics,
            primary=primary,
            protocol=protocol,
            counts=self.counts,
            intervals={} if per_query is None else _intervals(per_query, ranges),
            resampled=None if per_query is None else self.resampled,
            slices={name: merged(column.parts, column.values) for name, column in self._slices.items()},
            per_query=per_query,
            neighbours=self.neighbours if details else None,
            items=self._items(table) if details else None,
            vectors=self.vectors if details else None,
            back=self.back if details else None,
        )

    def _items(self, table: Table) -> list[Item]:
        shown = _shown(table, self.neighbours, self.back)
        items = _items(shown)
        if self._texts:
            for item, text, target in zip(items, shown.texts or [""] * len(items), targets_of(shown), strict=True):
                item.update({name: told for name, told in (("text", text), ("target", target)) if told})
                item.update(self.said.get(item["id"], {}))
        return items


@dataclass(slots=True)
class _Found:
    """What one evaluator found. ids: (Q,) of the queries. values: metric -> (Q,) before the mean, where it has them."""

    numbers: dict[str, float]
    ids: Tensor
    values: dict[str, Tensor]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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


def _small_enough(stored: StoredVectors | None) -> StoredVectors | None:
    return None if stored is None or stored.vectors.numel() * 4 > _VECTOR_BYTES else stored


def _per_query(columns: Mapping[str, tuple[Tensor, Tensor]], table: Table, groups: Tensor | None) -> PerQuery:
    """One row for each picture that asked anything. columns: metric -> ids and values. groups: (N,) or None."""
    ids = torch.unique(torch.cat([ids for ids, _ in columns.values()]))
    values = {}
    for name in sorted(columns):
        theirs, column = columns[name]
        values[name] = torch.full((len(ids),), torch.nan, dtype=torch.float64)
        values[name][torch.searchsorted(ids, theirs)] = column.double()
    return PerQuery(ids, values, None if groups is None else codes_by_id(torch.from_numpy(table.ids), groups, ids))


def _intervals(per_query: PerQuery, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Of each metric, within what it can be."""
    intervals: dict[str, tuple[float, float]] = {}
    for bounds in dict.fromkeys([(0.0, 1.0), *ranges.values()]):
        names = [name for name in per_query.values if ranges.get(name, (0.0, 1.0)) == bounds]
        if names:
            values = torch.stack([per_query.values[name] for name in names], 1)
            found = bootstrap_intervals(values, groups=per_query.groups, bounds=bounds).tolist()
            intervals.update({name: (low, high) for name, (low, high) in zip(names, found, strict=True)})
    return {name: intervals[name] for name in per_query.values}


def _shown(table: Table, neighbours: Neighbours | None, back: Neighbours | None = None, *, most: int = _ITEMS) -> Table:
    """The rows to keep as items: all, or of a large table those that asked and their first answers."""
    if len(table) <= most or neighbours is None:
        return table
    near = [part for part in (neighbours, back) if part is not None]
    kept = torch.cat([ids.flatten() for part in near for ids in (part.query_ids, part.ids)])
    return table.take(np.isin(table.ids, kept.numpy()))


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

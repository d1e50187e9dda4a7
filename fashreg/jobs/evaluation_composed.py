"""Pictures with texts find pictures: the questions of a `composed` evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.encoder.questions import task_for
from fashreg.errors import DataError
from fashreg.functional.candidates import draw_trials
from fashreg.functional.relevance import counts, relevance_from_labels
from fashreg.jobs.evaluation_asker import Asker, Search, nobody, side
from fashreg.jobs.evaluation_parts import Found, Part, joined_columns, joined_numbers, part_slices
from fashreg.jobs.evaluation_question import Codes, Question, column_codes
from fashreg.jobs.evaluation_result import Neighbours
from fashreg.jobs.evaluation_things import Mask, different, ids_of, labels_or, targets_of
from fashreg.protocol import COMPOSED

Rows = NDArray[np.int64]


def composed_found(asker: Asker, evaluator: Any) -> Found:
    """One search, or one for each value of the column `by`, and their join."""
    asked = _Composed(asker, evaluator, evaluator.exclude_reference)
    table = asker.table
    if evaluator.by is None:
        groups: dict[str, Mask] = {"": np.ones(len(table), dtype=np.bool_)}
    else:
        codes, names = column_codes(table, evaluator.by, "by")
        groups = {name: codes == code for code, name in enumerate(names)}
    parts = {name: part for name, mask in groups.items() if (part := asked.part(mask)) is not None}
    if not parts:
        raise DataError(f"{table.source}: no row has a text and a right answer in the gallery")
    joined = None if evaluator.by is None else evaluator.joined
    ids, values = joined_columns(parts, joined)
    return Found(
        joined_numbers(parts, joined),
        ids,
        values,
        lambda codes_of: part_slices(parts, joined, codes_of),
        COMPOSED,
        asked.counted,
        neighbours=() if not asked.near else (_together(asked.near),),
    )


def composed_search(asker: Asker, *, exclude_reference: bool = False) -> Search:
    """Every row that asks, of the pictures that can be found; DataError where nobody can find anything.

    exclude_reference: whether the picture that asks is left out of its own answers.
    """
    found = _Composed(asker, None, exclude_reference).search(np.ones(len(asker.table), dtype=np.bool_))
    if found is None:
        raise DataError(f"{asker.table.source}: no row has a text and a right answer in the gallery")
    return found


@dataclass(slots=True)
class _Composed:
    """Who asks, who can be found, and the vectors of those that ask. counted, near: so far."""

    asker: Asker
    evaluator: Any
    exclude_reference: bool
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("queries", "gallery"), 0))
    near: list[Neighbours] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counted["queries_without_relevant"] = 0

    def part(self, mask: Mask) -> Part | None:
        """What the rows of a mask find among the pictures of the same rows; None where nobody can find anything."""
        found = self.search(mask)
        return None if found is None else self._answered(found)

    def search(self, mask: Mask) -> Search | None:
        """The question of the rows of a mask to the pictures of the same rows; None as in `part`."""
        asker, table = self.asker, self.asker.table
        texts, targets = asker.texts(), np.array(targets_of(table), dtype=object)
        task = task_for(asker.encoder, "both", asker.task)
        shown = np.where(targets == "", np.array(table.paths, dtype=object), targets)
        gallery = self._gallery(mask, texts, targets)
        labels = labels_or(table, shown.tolist())
        asking = mask & np.array([text != "" for text in texts])
        asking &= (targets != "") | table.has_labels if table.query is None else table.query
        keys = [path if here else None for path, here in zip(shown, gallery, strict=True)]
        things = different(keys, labels, table.ids)
        rows: Rows = np.flatnonzero(asking)
        if not len(rows) or not len(things):
            return None
        ids = ids_of(table, things.rows)
        queries = self._side(rows, labels[rows], shown[things.rows].tolist(), ids)
        found = side(torch.zeros(len(ids), 0), things.labels, ids)
        relevance = relevance_from_labels(queries.labels, queries.ids, found.labels, found.ids)
        alone = int((counts(relevance) == 0).sum())
        if alone == len(rows):
            return None
        asked = asker.pictures(rows, task, [texts[row] for row in rows])
        answers = self._answers(things.rows, targets, task)
        question = Question(
            side(asked, labels[rows], queries.ids), side(answers, things.labels, ids), relevance, COMPOSED, alone
        )
        return Search(question, ids_of(table, rows), "image+text", "target")

    def _answered(self, search: Search) -> Part:
        question, evaluator = search.question, self.evaluator
        self.counted["gallery"] += len(question.gallery)
        if evaluator.candidates is None:
            part, near = search.part(evaluator, self.asker.first)
            self.counted["queries"] += len(search.rows)
            self.counted["queries_without_relevant"] += question.alone
        else:
            kinds = self._kinds(search.rows), self._kinds(question.gallery.ids)
            trials = draw_trials(
                question.queries.labels,
                search.rows,
                question.gallery.labels,
                question.gallery.ids,
                candidates=evaluator.candidates,
                queries=evaluator.queries,
                repeats=evaluator.repeats,
                seed=evaluator.seed,
                query_kinds=kinds[0],
                gallery_kinds=kinds[1],
                excluded=question.queries.ids,
            )
            part, near = search.drawn(evaluator, trials, self.asker.first, evaluator.repeats)
            self.counted["queries"] += len(trials)
            self.counted["queries_short_of_candidates"] = (
                self.counted.get("queries_short_of_candidates", 0) + trials.short
            )
        self.near.append(near)
        return part

    def _gallery(self, mask: Mask, texts: Sequence[str], targets: NDArray[Any]) -> Mask:
        """(N,) rows whose picture (the target where there is one) can be found."""
        table = self.asker.table
        if table.gallery is not None:
            return mask & table.gallery
        if not bool((targets != "").any()):
            raise DataError(
                f"{table.source}: nothing says which pictures can be found; name the column with the picture asked "
                "for (--set target=COLUMN), or flag the gallery (is_query, is_gallery)"
            )
        here: Mask = mask & ((targets != "") | np.array([text == "" for text in texts]))
        return here

    def _side(self, rows: Rows, labels: Codes, shown: Sequence[str], ids: Tensor) -> Any:
        """Who asks, without vectors. The id of a query is that of its own picture in the gallery, where that is left
        out of the answers."""
        if not self.exclude_reference:
            return side(torch.zeros(len(rows), 0), labels, nobody(len(rows)))
        own = dict(zip(shown, ids.tolist(), strict=True))
        found = torch.tensor([own.get(self.asker.table.paths[row], -1) for row in rows], dtype=torch.int64)
        return side(torch.zeros(len(rows), 0), labels, found)

    def _answers(self, rows: Rows, targets: NDArray[Any], task: str | None) -> Tensor:
        """Vectors of what the rows ask for, or where they ask for nothing of their own picture."""
        asker, wanted = self.asker, targets[rows] != ""
        made = torch.empty(len(rows), asker.encoder.embed_dim)
        if wanted.any():
            paths = targets[rows][wanted].tolist()
            made[torch.from_numpy(wanted)] = asker.encoder.embed(
                paths, task=task, batch_size=asker.batch_size, progress=asker.progress
            )
        if not wanted.all():
            made[torch.from_numpy(~wanted)] = asker.pictures(rows[~wanted], task)
        return made

    def _kinds(self, ids: Tensor) -> Tensor | None:
        if self.evaluator.within is None:
            return None
        table = self.asker.table
        codes = torch.from_numpy(column_codes(table, self.evaluator.within, "within")[0])
        ordered, order = torch.from_numpy(table.ids).sort()
        return codes[order[torch.searchsorted(ordered, ids)]]


def _together(near: Sequence[Neighbours]) -> Neighbours:
    """The neighbours of several searches, query after query by their ids, as many as the shallowest has."""
    width = min(part.ids.shape[1] for part in near)
    rows = torch.cat([part.query_ids for part in near])
    order = rows.argsort()
    ids = torch.cat([part.ids[:, :width] for part in near])[order]
    scores = torch.cat([part.scores[:, :width] for part in near])[order]
    return Neighbours(rows[order], ids, scores, None, near[0].asks, near[0].finds)

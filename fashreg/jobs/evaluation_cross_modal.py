"""Pictures among texts, texts among pictures: the two questions of a `cross-modal` evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.data.layouts.fashion_gen import read_trials
from fashreg.encoder.questions import task_for
from fashreg.errors import DataError
from fashreg.functional.candidates import Trials, draw_trials
from fashreg.functional.relevance import counts, relevance_from_labels
from fashreg.jobs.evaluation_asker import Asker, Search, nobody, side
from fashreg.jobs.evaluation_parts import Found, Part, joined_columns, joined_numbers, part_slices
from fashreg.jobs.evaluation_question import Question, column_codes
from fashreg.jobs.evaluation_result import StoredVectors
from fashreg.jobs.evaluation_things import different, ids_of, labels_or, pictures_of
from fashreg.protocol import PICTURES_AND_TEXTS


def cross_modal_found(asker: Asker, evaluator: Any) -> Found:
    """Both directions and their join."""
    sides = _Sides(asker)
    parts: dict[str, Part] = {}
    near = []
    counted = {"gallery": len(sides.pictures), "texts": len(sides.texts), "queries": 0, "queries_without_relevant": 0}
    for way in ("image_to_text", "text_to_image"):
        search = sides.search(way)
        if evaluator.candidates is None:
            part, found = search.part(evaluator, asker.first)
            counted["queries"] += len(search.rows)
            counted["queries_without_relevant"] += search.question.alone
        else:
            trials = sides.trials(way, search, evaluator)
            part, found = search.drawn(evaluator, trials, asker.first, sides.repeats)
            counted["queries"] += len(trials)
            counted["queries_short_of_candidates"] = counted.get("queries_short_of_candidates", 0) + trials.short
        parts[way] = part
        near.append(found)
    ids, values = joined_columns(parts, evaluator.joined)
    return Found(
        joined_numbers(parts, evaluator.joined),
        ids,
        values,
        lambda codes_of: part_slices(parts, evaluator.joined, codes_of),
        PICTURES_AND_TEXTS,
        counted,
        neighbours=(near[1], near[0]),
        vectors=StoredVectors(sides.picture_ids, sides.picture_vectors),
    )


def words_search(asker: Asker) -> Search:
    """The question of the texts of a table to its pictures."""
    return _Sides(asker).search("text_to_image")


class _Sides:
    """The different pictures and texts of a table with their vectors. repeats: of the last drawing."""

    def __init__(self, asker: Asker) -> None:
        self.asker, self.table = asker, asker.table
        said = asker.texts()
        task = task_for(asker.encoder, "texts", asker.task)
        keys = pictures_of(self.table)
        labels = labels_or(self.table, keys)
        self.pictures = different(keys, labels, self.table.ids)
        self.texts = different([text or None for text in said], labels, self.table.ids)
        if not len(self.texts):
            raise DataError(f"{self.table.source}: every text is empty; name another column, e.g. --set text=caption")
        self.picture_vectors = asker.pictures(self.pictures.rows, task)
        asked = [said[row] for row in self.texts.rows]
        self.text_vectors = asker.encoder.embed(
            texts=asked, task=task, batch_size=asker.batch_size, progress=asker.progress
        )
        self.picture_ids, self.text_ids = ids_of(self.table, self.pictures.rows), ids_of(self.table, self.texts.rows)
        self.repeats = 1

    def search(self, way: str) -> Search:
        """The question of one direction. Rows flagged as queries ask, rows flagged as gallery answer."""
        kinds = (self.pictures, self.picture_vectors), (self.texts, self.text_vectors)
        (mine, vectors), (theirs, answers) = kinds if way == "image_to_text" else kinds[::-1]
        asking, found = mine.among(self.table.query), theirs.among(self.table.gallery)
        if not len(asking) or not len(found):
            raise DataError("the query or gallery flags of the table leave no picture or no text; see is_query")
        queries = side(vectors[asking], mine.labels[asking], nobody(len(asking)))
        gallery = side(answers[found], theirs.labels[found], ids_of(self.table, theirs.rows[found]))
        relevance = relevance_from_labels(queries.labels, queries.ids, gallery.labels, gallery.ids)
        alone = int((counts(relevance) == 0).sum())
        if alone == len(queries):
            raise DataError(f"{self.table.source}: no query has a right answer; pictures and texts share no label")
        question = Question(queries, gallery, relevance, PICTURES_AND_TEXTS, alone)
        rows = ids_of(self.table, mine.rows[asking])
        return Search(question, rows, *(("image", "text") if way == "image_to_text" else ("text", "image")))

    def trials(self, way: str, search: Search, evaluator: Any) -> Trials:
        """The queries and candidates that the evaluator wants: drawn, or those of the table."""
        if evaluator.candidates == "table":
            return self._of_table(way)
        self.repeats = evaluator.repeats
        queries, gallery = search.question.queries, search.question.gallery
        codes = None
        if evaluator.within is not None:
            codes = torch.from_numpy(column_codes(self.table, evaluator.within, "within")[0])
        return draw_trials(
            queries.labels,
            search.rows,
            gallery.labels,
            gallery.ids,
            candidates=evaluator.candidates,
            queries=evaluator.queries,
            repeats=evaluator.repeats,
            seed=2 * evaluator.seed + (way == "text_to_image"),
            query_kinds=None if codes is None else codes[self._rows(search.rows)],
            gallery_kinds=None if codes is None else codes[self._rows(gallery.ids)],
        )

    def _rows(self, ids: Tensor) -> Tensor:
        """Rows of some ids of the table."""
        ordered, order = torch.from_numpy(self.table.ids).sort()
        return order[torch.searchsorted(ordered, ids)]

    def _of_table(self, way: str) -> Trials:
        """Candidates that stand in the table's columns, which name rows of the whole table."""
        mine, theirs = (self.pictures, self.texts)[:: 1 if way == "image_to_text" else -1]
        name = way.replace("_to_", "-to-")
        repeats = sum(str(column).startswith(f"{name} ") for column in self.table.frame.columns)
        if not repeats:
            raise DataError(f'{self.table.source} has no column "{name} 1" with candidates: say how many to draw')
        place_of = np.full(int(self.table.rows.max()) + 2, -1, dtype=np.int64)
        place_of[self.table.rows] = np.arange(len(self.table))
        asking, shown = [], []
        for repeat in range(1, repeats + 1):
            rows, candidates = read_trials(self.table.frame, name, repeat)
            asking.append(_among(mine.place[rows], mine.among(self.table.query)))
            found = place_of[np.minimum(candidates, len(place_of) - 1)]
            if bool((found < 0).any()):
                raise DataError(
                    f"{self.table.source}: candidates name rows that are not here; evaluate the whole split"
                )
            shown.append(_among(theirs.place[found], theirs.among(self.table.gallery)))
        self.repeats = repeats
        return Trials(torch.from_numpy(np.concatenate(asking)), torch.from_numpy(np.concatenate(shown)))


def _among(places: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of some things among those kept (ascending); DataError for one that is not."""
    at: NDArray[np.int64] = np.searchsorted(kept, places).clip(max=max(0, len(kept) - 1))
    if bool((kept[at] != places).any()):
        raise DataError("a candidate of the table is a row without a text, or one that no flag lets ask or answer")
    return at

"""One question put to embeddings: who asks, who can be found, and what would be a right answer."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.data.columns import codes_of, exact_text
from fashreg.data.table import Table
from fashreg.errors import DataError
from fashreg.functional.neighbours import Gallery, nearest
from fashreg.functional.relevance import counts, relevance_from_labels
from fashreg.protocol import LEAVE_ONE_OUT, QUERIES_AGAINST_GALLERY
from fashreg.values import Rankings, Relevance

Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Those who ask, or those who can be found. vectors: (R, D). labels, ids: (R,). sources: (R,) or None."""

    vectors: Tensor
    labels: Tensor
    ids: Tensor
    sources: Tensor | None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Queries against a gallery (the same object in leave-one-out). alone: queries without a relevant picture."""

    queries: Side
    gallery: Side
    relevance: Relevance
    rule: str
    alone: int

    @property
    def tally(self) -> dict[str, int]:
        """How many there are of each."""
        return {
            "queries": len(self.queries),
            "gallery": len(self.gallery),
            "queries_without_relevant": self.alone,
        }

    def search(self, k: int) -> Rankings:
        """The k best of each query."""
        queries, gallery = self.queries, self.gallery
        return nearest(
            queries.vectors,
            gallery.vectors,
            gallery.ids,
            k,
            query_ids=queries.ids,
            query_sources=queries.sources,
            gallery_sources=gallery.sources,
        )


class QuestionIndex:
    """The gallery of a question as rerankers ask it: the search part of an index, with the question's exclusions."""

    def __init__(self, question: Question) -> None:
        self.embed_dim = int(question.gallery.vectors.shape[1])
        self._question = question
        self._gallery: Gallery | None = None
        self._ids, self._order = question.gallery.ids.sort()
        self._asked, self._asked_order = question.queries.ids.sort()

    def __len__(self) -> int:
        return len(self._ids)

    def search(
        self, vectors: Tensor, k: int, *, query_ids: Tensor | None = None, allowed: Tensor | None = None
    ) -> Rankings:
        """The k best of each vector (Q, D). query_ids: their rows, and what shares their source, are left out."""
        if allowed is not None:
            raise ValueError("the gallery of an evaluation is searched whole")
        side = self._question.gallery
        if self._gallery is None:
            self._gallery = Gallery(side.vectors, side.ids, side.sources)
        asked = None if side.sources is None or query_ids is None else self._sources_of(query_ids)
        return self._gallery.search(vectors, k, query_ids, query_sources=asked)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """What is searched: (N, D) and ids (N,)."""
        return self._question.gallery.vectors, self._question.gallery.ids

    def vectors_of(self, ids: Tensor) -> Tensor:
        """(n, D) of ids that the gallery holds."""
        return self._question.gallery.vectors[self._order[torch.searchsorted(self._ids, ids)]]

    def _sources_of(self, query_ids: Tensor) -> Tensor:
        """(Q,) source of each query, -1 for one that the question does not know."""
        assert self._question.queries.sources is not None
        at = torch.searchsorted(self._asked, query_ids).clamp_(max=len(self._asked) - 1)
        known = self._asked[at] == query_ids
        return torch.where(known, self._question.queries.sources[self._asked_order[at]], -1)


def question_of(vectors: Tensor, table: Table, codes: Codes, sources: Codes | None = None) -> Question:
    """Ask with `codes` (N,) as the labels; rows with code -1 neither ask nor answer. vectors: (N, D), a row each."""
    if codes is table.labels and not table.has_labels:
        raise DataError(
            f"{table.source}: rows without a label cannot be judged; name the label column, e.g. --label style"
        )
    if len(vectors) != len(table):
        raise ValueError(f"a table of {len(table)} rows needs as many vectors, got {tuple(vectors.shape)}")
    known = codes >= 0
    rule = LEAVE_ONE_OUT if table.query is None or table.gallery is None else QUERIES_AGAINST_GALLERY
    if table.query is None or table.gallery is None:
        queries = gallery = _side(vectors, table, codes, sources, known)
    else:
        queries = _side(vectors, table, codes, sources, table.query & known)
        gallery = _side(vectors, table, codes, sources, table.gallery & known)
    relevance = relevance_from_labels(
        queries.labels,
        queries.ids,
        gallery.labels,
        gallery.ids,
        query_sources=queries.sources,
        gallery_sources=gallery.sources,
    )
    return Question(queries, gallery, relevance, rule, int((counts(relevance) == 0).sum()))


def column_codes(table: Table, column: str, option: str) -> tuple[Codes, list[str]]:
    """A column of the table as codes (N,), -1 where the cell is empty, and the value of each code."""
    columns = [str(name) for name in table.frame.columns]
    if column not in columns:
        near = difflib.get_close_matches(column, columns, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(columns)}"
        raise DataError(f'{table.source} has no column "{column}" for {option}; {hint}', column=column)
    return codes_of(exact_text(table.frame[column]))


def _side(vectors: Tensor, table: Table, codes: Codes, sources: Codes | None, mask: Mask) -> Side:
    if not mask.any():
        raise DataError("the query or gallery flags of the table leave no row; see is_query and is_gallery")
    labels, ids = torch.from_numpy(codes), torch.from_numpy(table.ids)
    theirs = None if sources is None else torch.from_numpy(sources)
    rows = np.flatnonzero(mask)
    first, last = int(rows[0]), int(rows[-1])
    where: Any = torch.from_numpy(rows)
    if last - first + 1 == len(rows):  # as they lie: nothing is copied, and vectors may lie in a memory map
        where = slice(first, last + 1)
    return Side(vectors[where], labels[where], ids[where], None if theirs is None else theirs[where])

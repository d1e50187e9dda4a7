"""The rows that an index holds: vectors and their ids, checked as they come in."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fashreg.functional.neighbours import Gallery
from fashreg.functional.pair_scores import checked_vectors

Metric = Literal["cosine", "inner"]
Ids = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
_UNIT = 1e-6  # a row this close to length 1 is kept bit for bit


class Rows:
    """Vectors (N, D) fp32 with unique ids, in the order they were added; an updated row stays where it is.

    With "cosine" they are made unit.
    """

    def __init__(self, embed_dim: int, metric: Metric) -> None:
        if embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {embed_dim}")
        if metric not in ("cosine", "inner"):
            raise ValueError(f'metric must be "cosine" or "inner", got {metric!r}')
        self.embed_dim, self.metric = embed_dim, metric
        self._set([], [], None)

    def _set(self, vectors: list[Tensor], ids: list[Tensor], ordered: Ids | None) -> None:
        """Rows in parts. ordered: the ids ascending; None where they stand so already."""
        self._vectors, self._ids, self._ordered = vectors, ids, ordered
        self._count = sum(map(len, ids))
        self._places: Ids | None = None  # row of each of the ordered ids, made when asked for
        self._gallery: Gallery | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def vectors(self) -> Tensor:
        """(N, D) fp32."""
        if len(self._vectors) != 1:
            self._vectors = [torch.cat(self._vectors) if self._vectors else torch.zeros(0, self.embed_dim)]
        return self._vectors[0]

    def some(self, rows: Tensor) -> Tensor:
        """(n, D) these rows (n,). Those of the latest add are given as they are, without joining all rows."""
        latest = len(self._vectors[-1]) if self._vectors else 0
        if len(rows) == latest and latest and int(rows[0]) == len(self) - latest and int(rows[-1]) == len(self) - 1:
            return self._vectors[-1]
        return self.vectors[rows]

    @property
    def ids(self) -> Tensor:
        """(N,) int64."""
        if len(self._ids) != 1:
            self._ids = [torch.cat(self._ids) if self._ids else torch.zeros(0, dtype=torch.int64)]
        return self._ids[0]

    @property
    def ordered(self) -> Ids:
        """The ids, ascending."""
        return self.ids.numpy() if self._ordered is None else self._ordered

    @property
    def largest(self) -> float:
        """Length of the longest row, or a little more."""
        if self.metric == "cosine":
            return 1 + 2 * _UNIT
        return float(self.gallery().largest) if len(self) else 0.0

    def gallery(self, allowed: Tensor | None = None) -> Gallery:
        """All rows ready for exact search, or those with the allowed ids. ValueError when there is none."""
        if not len(self):
            raise ValueError("the index is empty: add vectors before searching")
        if allowed is not None:
            where = self.where(allowed)
            return Gallery(self.vectors[where], self.ids[where])
        if self._gallery is None:
            self._gallery = Gallery(self.vectors, self.ids)
        return self._gallery

    @torch.no_grad()
    def add(self, vectors: Tensor, ids: Tensor) -> None:
        """Append a copy of the rows; ValueError and no change when an id is taken, negative or given twice."""
        rows = self.prepared(vectors, "the vectors to add")
        new = _checked_ids(ids, "added", len(rows))
        given, known = np.sort(new.numpy()), self.ordered
        if len(given) and given[0] < 0:
            raise ValueError(f"ids must be 0 or larger, got {given[0]}")
        _refuse(given[_contains(known, given)], "in the index already", "added")
        ordered: Ids | None = None
        if self._ordered is not None or not _follow(known, new.numpy()):
            ordered = np.sort(np.concatenate([known, given]), kind="stable")  # two sorted runs: a merge
        own = rows.clone() if rows.data_ptr() == vectors.data_ptr() else rows
        self._set([*self._vectors, own], [*self._ids, new], ordered)

    def vectors_of(self, ids: Tensor) -> Tensor:
        """(n, D) vectors of stored ids (n,)."""
        return self.vectors[self._stored(ids.detach().cpu().long(), "read")]

    def adopt(self, vectors: Tensor, ids: Tensor) -> None:
        """Keep rows (N, D) that nobody else changes (read from a file) without copying them; only into no rows."""
        rows = self.prepared(vectors, "the vectors to add")
        new = _checked_ids(ids, "added", len(rows))
        if len(self):
            raise ValueError("rows are adopted by an empty index only")
        self._set([rows], [new], None if _follow(new.numpy()[:0], new.numpy()) else np.sort(new.numpy()))

    def delete(self, ids: Tensor) -> Tensor:
        """Forget the rows of these ids and close the gaps; gives the mask (N,) of the rows that stay.

        ValueError and no change when an id is not stored or given twice.
        """
        stay = torch.ones(len(self), dtype=torch.bool)
        stay[self._stored(_checked_ids(ids, "deleted"), "deleted")] = False
        if not stay.all():
            kept = self.ids[stay]
            self._set([self.vectors[stay]], [kept], None if self._ordered is None else np.sort(kept.numpy()))
        return stay

    @torch.no_grad()
    def update(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Give stored ids (n,) other vectors (n, D); gives the rows (n,) they stand in.

        ValueError and no change when an id is not stored or given twice.
        """
        rows = self.prepared(vectors, "the new vectors")
        where = self._stored(_checked_ids(ids, "updated", len(rows)), "updated")
        if len(where):
            self._vectors = [self.vectors.index_copy(0, where, rows)]
            self._gallery = None
        return where

    def prepared(self, vectors: Tensor, what: str) -> Tensor:
        """Vectors as they are stored and asked: fp32 on the CPU, of width D, finite, unit with "cosine"."""
        if vectors.ndim == 2 and vectors.shape[1] != self.embed_dim:
            raise ValueError(
                f"{what} have width {vectors.shape[1]}; this index holds vectors of width {self.embed_dim}"
            )
        rows = checked_vectors(vectors.detach().cpu(), what)
        return _unit(rows) if self.metric == "cosine" else rows

    def where(self, allowed: Tensor) -> Tensor:
        """Positions of the rows with these ids, each once, ascending. ValueError for none and for unknown ids."""
        wanted = np.unique(allowed.detach().cpu().long().numpy())
        if not len(wanted):
            raise ValueError("no id is allowed: the filter leaves nothing to search")
        known = _contains(self.ordered, wanted)
        if not known.all():
            raise ValueError(f"allowed ids must be in the index; {_some(wanted[~known])} not")
        return self._rows_of(wanted).sort().values

    def _stored(self, ids: Tensor, done: str) -> Tensor:
        """Rows of these ids, in their order."""
        known = _contains(self.ordered, ids.numpy())
        if not known.all():
            strange = np.unique(ids.numpy()[~known])
            raise ValueError(f"ids must be in the index; {_some(strange)} not; nothing was {done}")
        return self._rows_of(ids.numpy())

    def _rows_of(self, ids: Ids) -> Tensor:
        places = np.searchsorted(self.ordered, ids)
        if self._ordered is None:
            return torch.from_numpy(places)
        if self._places is None:
            self._places = self.ids.argsort().numpy()
        return torch.from_numpy(self._places[places])


def _unit(rows: Tensor) -> Tensor:
    """Rows divided by their length; those of length 1 and those of length 0 as they are."""
    doubtful = ((torch.linalg.vector_norm(rows, dim=1) - 1).abs() > _UNIT / 2).nonzero().flatten()
    if not len(doubtful):
        return rows
    made = rows.clone()
    for some in doubtful.split(1 << 16):
        part = rows[some]
        length = torch.linalg.vector_norm(part, dim=1, keepdim=True, dtype=torch.float64)
        other = ((length - 1).abs() > _UNIT) & (length > 0)
        made[some] = torch.where(other, part / length.clamp(min=1e-300), part).float()
    return made


def _checked_ids(ids: Tensor, done: str, count: int | None = None) -> Tensor:
    """A copy of integer ids (n,), none of them twice; `count`: how many there must be."""
    if ids.ndim != 1 or ids.dtype.is_floating_point or ids.dtype == torch.bool or count not in (None, len(ids)):
        what = "ids (n,) must be integers" if count is None else f"{count} vectors need as many integer ids"
        raise ValueError(f"{what}, got {ids.dtype} {tuple(ids.shape)}; nothing was {done}")
    own = ids.detach().cpu().long().clone()
    ordered = np.sort(own.numpy())
    _refuse(ordered[1:][ordered[1:] == ordered[:-1]], "given twice", done)
    return own


def _follow(known: Ids, new: Ids) -> bool:
    """Whether new ids ascend, and are larger than those known."""
    return bool((new[1:] > new[:-1]).all() and (not len(new) or not len(known) or new[0] > known[-1]))


def _contains(ordered: Ids, ids: Ids) -> Mask:
    if not len(ordered):
        return np.zeros(len(ids), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.equal(ordered[at], ids)


def _refuse(bad: Ids, why: str, done: str) -> None:
    if len(bad):
        raise ValueError(f"ids must be unique; {_some(np.unique(bad))} {why}; nothing was {done}")


def _some(ids: Ids) -> str:
    shown = ", ".join(str(i) for i in ids[:5])
    return f"{shown} and {len(ids) - 5} more are" if len(ids) > 5 else f"{shown} {'is' if len(ids) == 1 else 'are'}"

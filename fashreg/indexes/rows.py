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
    """Vectors (N, D) fp32 with unique ids, in the order they were added. With "cosine" they are made unit."""

    def __init__(self, embed_dim: int, metric: Metric) -> None:
        if embed_dim < 1:
            raise ValueError(f"embed_dim must be at least 1, got {embed_dim}")
        if metric not in ("cosine", "inner"):
            raise ValueError(f'metric must be "cosine" or "inner", got {metric!r}')
        self.embed_dim, self.metric = embed_dim, metric
        self._vectors: list[Tensor] = [torch.zeros(0, embed_dim)]
        self._ids: list[Tensor] = [torch.zeros(0, dtype=torch.int64)]
        self._ordered = np.zeros(0, dtype=np.int64)
        self._gallery: Gallery | None = None

    def __len__(self) -> int:
        return len(self._ordered)

    @property
    def vectors(self) -> Tensor:
        """(N, D) fp32."""
        if len(self._vectors) > 1:
            self._vectors = [torch.cat(self._vectors)]
        return self._vectors[0]

    @property
    def ids(self) -> Tensor:
        """(N,) int64."""
        if len(self._ids) > 1:
            self._ids = [torch.cat(self._ids)]
        return self._ids[0]

    @property
    def latest(self) -> Tensor:
        """The vectors of the add before this, (n, D)."""
        return self._vectors[-1]

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
        if ids.shape != rows.shape[:1] or ids.dtype.is_floating_point or ids.dtype == torch.bool:
            raise ValueError(f"{len(rows)} vectors need as many integer ids, got {ids.dtype} {tuple(ids.shape)}")
        new = ids.detach().cpu().long().clone()
        ordered = np.sort(new.numpy())
        if len(ordered) and ordered[0] < 0:
            raise ValueError(f"ids must be 0 or larger, got {ordered[0]}")
        _refuse(ordered[1:][ordered[1:] == ordered[:-1]], "given twice")
        _refuse(ordered[_contains(self._ordered, ordered)], "in the index already")
        self._vectors.append(rows.clone() if rows.data_ptr() == vectors.data_ptr() else rows)
        self._ids.append(new)
        self._gallery = None
        self._ordered = np.sort(np.concatenate([self._ordered, ordered]), kind="stable")  # two sorted runs: a merge

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
        known = _contains(self._ordered, wanted)
        if not known.all():
            raise ValueError(f"allowed ids must be in the index; {_some(wanted[~known])} not")
        return torch.isin(self.ids, torch.from_numpy(wanted)).nonzero().flatten()


def _unit(rows: Tensor) -> Tensor:
    """Rows divided by their length; those of length 1 and those of length 0 as they are."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    other = ((length - 1).abs() > _UNIT) & (length > 0)
    if not other.any():
        return rows
    return torch.where(other, rows / length.clamp(min=1e-300), rows).float()


def _contains(ordered: Ids, ids: Ids) -> Mask:
    if not len(ordered):
        return np.zeros(len(ids), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.equal(ordered[at], ids)


def _refuse(bad: Ids, why: str) -> None:
    if len(bad):
        raise ValueError(f"ids must be unique; {_some(np.unique(bad))} {why}; nothing was added")


def _some(ids: Ids) -> str:
    shown = ", ".join(str(i) for i in ids[:5])
    return f"{shown} and {len(ids) - 5} more are" if len(ids) > 5 else f"{shown} {'is' if len(ids) == 1 else 'are'}"

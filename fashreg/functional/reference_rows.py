"""Rows of references, some at a time, ready to be scored: moved, made unit, widened, without writing all of them out.

Where rows r_j must be made unit, they are left as they are and the **scores** are divided by the length,

    s_ij = z_i . r_j / |r_j|        ds_ij / dz_i = r_j / |r_j|

one pass over B x m scores in place of two over m x D rows. An affine image r_j = scale * u_j + shift is written into
one room for some rows after the other, where it stays in the processor's cache for the length, the scores and the
gradient: (z_i * scale) . u_j + z_i . shift would save that writing but not the length, which costs as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.similarity import TINY
from fashreg.values import AffineEmbedded, Embedded

_ROOM = {"cpu": 1 << 19, "cuda": 1 << 24}  # numbers in the room for moved rows: 2 MB, 64 MB
_OTHER_DEVICE = 1 << 22


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """vectors: (m, D). factor: (m,), what each row is still to be multiplied with; None where that is 1."""

    vectors: Tensor
    factor: Tensor | None = None

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def pick(self, index: Tensor) -> ScaledRows:
        """Some of the rows."""
        return ScaledRows(self.vectors[index], None if self.factor is None else self.factor[index])

    def score(self, anchors: Tensor, out: Tensor) -> Tensor:
        """Inner products (B, m) with anchors (B, D), in `out`."""
        torch.mm(anchors, self.vectors.T, out=out)
        return out if self.factor is None else out.mul_(self.factor)

    def add_to(self, total: Tensor, weights: Tensor) -> None:
        """total (B, D) += weights (B, m) times the rows, in place; the weights may be overwritten."""
        total.addmm_(weights if self.factor is None else weights.mul_(self.factor), self.vectors)


class ReferenceRows:
    """Rows of `references` in the type of `anchors`, read in parts of at most `most` rows: the one room is shared.

    normalize: make rows unit that are not known to be.
    """

    def __init__(self, references: Embedded, anchors: Tensor, *, normalize: bool) -> None:
        self.dtype, self.most = anchors.dtype, len(references)
        self.by_length = normalize and not references.unit
        self.scale = self.shift = None
        if isinstance(references, AffineEmbedded):
            self.source = references.stored
            self.scale, self.shift = references.scale.to(self.dtype), references.shift.to(self.dtype)
            self.by_length = normalize or references.unit
            self.most = max(1, _ROOM.get(anchors.device.type, _OTHER_DEVICE) // max(1, references.width))
            self._room: Tensor | None = None
        else:
            self.source = references.vectors.detach()

    def read(self, part: slice | Tensor) -> ScaledRows:
        """The rows at these places; valid until the next are read."""
        rows = self.source[part]
        if self.scale is None or self.shift is None:
            rows = rows.to(self.dtype)
        else:
            if self._room is None or len(self._room) < len(rows):
                self._room = torch.empty_like(rows, dtype=self.dtype)
            rows = torch.addcmul(self.shift, rows.to(self.dtype), self.scale, out=self._room[: len(rows)])
        return ScaledRows(rows, _inverse_length(rows) if self.by_length else None)


def _inverse_length(rows: Tensor) -> Tensor:
    """1 / |r| for each row (m, D), 0 for a row without direction."""
    length = torch.linalg.vector_norm(rows, dim=1)
    return torch.where(length > TINY, 1.0 / length, 0.0)

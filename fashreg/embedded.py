"""Rows of vectors with labels and ids, written out or as an affine image of stored ones. No torch at import.

One rule everywhere: `ids` are unique per image, and **a pair with equal ids is never a pair** (losses, memories,
metrics, search). Negative ids mean "no identity" and never equal anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embedding vectors with their labels and ids: a batch, a gallery, or what a memory remembers.

    vectors: (B, D) float. labels: (B,) int64. ids: (B,) int64, unique per image, negative = no identity.
    unit: the rows are known to have length 1, so nobody needs to normalise them again.
    """

    vectors: Tensor
    labels: Tensor
    ids: Tensor
    unit: bool = False

    def __post_init__(self) -> None:
        b = self.vectors.shape[0]
        if self.vectors.ndim != 2 or self.labels.shape != (b,) or self.ids.shape != (b,):
            raise ValueError(
                "Embedded takes vectors (B, D), labels (B,), ids (B,); got "
                f"{tuple(self.vectors.shape)}, {tuple(self.labels.shape)}, {tuple(self.ids.shape)}"
            )
        for name, values in (("labels", self.labels), ("ids", self.ids)):
            if values.dtype.is_floating_point or values.dtype.is_complex:
                raise ValueError(f"Embedded.{name} must be integers (int64), got {values.dtype}")

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def detach(self) -> Self:
        """The same rows outside the graph."""
        return replace(self, vectors=self.vectors.detach())

    def to(self, device: Any) -> Self:
        """The same rows on another device."""
        return replace(self, vectors=self.vectors.to(device), labels=self.labels.to(device), ids=self.ids.to(device))

    def take(self, rows: Any) -> Self:
        """Some of the rows: a slice, places (n,), or a mask (B,)."""
        return replace(self, vectors=self.vectors[rows], labels=self.labels[rows], ids=self.ids[rows])

    @property
    def width(self) -> int:
        """D, the number of dimensions."""
        return int(self.vectors.shape[1])

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted for the vectors."""
        return self.vectors.requires_grad


_NO_DIRECTION = 1e-12  # a row shorter than this stays as it is where others are made unit


class AffineEmbedded(Embedded):
    """References that are an affine image of stored rows, r_j = scale * u_j + shift, not written out unless asked.

    stored: (M, D) float, the rows u. scale, shift: (D,) float. labels, ids: (M,) int64. unit: every row r_j is divided
    by its length where it is read. A memory that moves all its rows by one map keeps (M, D) numbers untouched and hands
    out this; losses that know the form score it block by block (`fashreg.functional.blocks`), every other reader takes
    `vectors` and gets the same numbers. No gradient goes to any of it. It is a view of what it is given: valid as long
    as that is left alone. `dataclasses.replace` gives a plain Embedded of the rows written out.
    """

    __slots__ = ("scale", "shift", "stored")

    stored: Tensor
    scale: Tensor
    shift: Tensor

    def __new__(cls, *args: Any, **named: Any) -> Any:
        """A plain Embedded where `vectors` are named: so asks dataclasses.replace."""
        return Embedded(**named) if "vectors" in named else super().__new__(cls)

    def __init__(
        self, stored: Tensor, scale: Tensor, shift: Tensor, labels: Tensor, ids: Tensor, unit: bool = False
    ) -> None:
        given = {"stored": stored, "scale": scale, "shift": shift, "labels": labels, "ids": ids}
        m, *wide = stored.shape
        if not (len(wide) == 1 and scale.shape == shift.shape == (*wide,) and labels.shape == ids.shape == (m,)):
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
            raise ValueError(
                f"AffineEmbedded takes stored (M, D), scale (D,), shift (D,), labels (M,), ids (M,); got {shapes}"
            )
        for name, value in given.items():
            whole = not (value.dtype.is_floating_point or value.dtype.is_complex)
            if whole != (name in ("labels", "ids")):
                kind = "integers (int64)" if name in ("labels", "ids") else "real numbers"
                raise ValueError(f"AffineEmbedded.{name} must be {kind}, got {value.dtype}")
            if name not in ("labels", "ids"):
                value = value.detach()
            object.__setattr__(self, name, value)
        object.__setattr__(self, "unit", unit)

    @property
    def vectors(self) -> Tensor:
        """The rows (M, D) written out: in fp32, or fp64 where stored so. Made anew at every call."""
        wide = self.stored if self.stored.dtype.itemsize > 4 else self.stored.float()
        rows = wide * self.scale.to(wide.dtype) + self.shift.to(wide.dtype)
        if not self.unit:
            return rows
        length = rows.norm(dim=1, keepdim=True)
        return rows.mul_(length > _NO_DIRECTION).div_(length.clamp_min_(_NO_DIRECTION))

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    def __repr__(self) -> str:
        return f"AffineEmbedded(stored={tuple(self.stored.shape)} {self.stored.dtype}, unit={self.unit})"

    @property
    def width(self) -> int:
        """D, the number of dimensions."""
        return int(self.stored.shape[1])

    @property
    def requires_grad(self) -> bool:
        """Never."""
        return False

    def detach(self) -> Self:
        """Itself: it has no graph."""
        return self

    def to(self, device: Any) -> Self:
        """The same rows on another device."""
        stored, scale, shift = self.stored.to(device), self.scale.to(device), self.shift.to(device)
        return type(self)(stored, scale, shift, self.labels.to(device), self.ids.to(device), self.unit)

    def take(self, rows: Any) -> Self:
        """Some of the rows, not written out either."""
        return type(self)(self.stored[rows], self.scale, self.shift, self.labels[rows], self.ids[rows], self.unit)

"""The small values that travel between rooms. No torch at import: tensors are named in annotations only.

One rule everywhere: `ids` are unique per image, and **a pair with equal ids is never a pair** (losses, memories,
metrics, search). Negative ids mean "no identity" and never equal anything.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True, slots=True, eq=False)
class Rankings:
    """Nearest neighbours, best first. ids: (Q, K) int64; scores: (Q, K) float, larger is nearer; -1 / -inf pad."""

    ids: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return int(self.ids.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Which gallery ids are relevant to each query, kept by group so that labels cost O(N) and not O(N^2).

    query_ids: (Q,) int64. group: (Q,) int64, the group of each query. offsets: (G + 1,) int64 and
    ids: (R,) int64: group g's relevant ids are `ids[offsets[g]:offsets[g + 1]]`, ascending within a group.
    grades: (R,) float gains for nDCG, or None for 0/1 relevance.
    query_sources: (Q,) and sources: (R,) int64, or None: a relevant id of the query's own source does not count for it;
    negative = no source. A query's own id is never relevant to it. Built by `fashreg.functional.relevance`.
    """

    query_ids: Tensor
    group: Tensor
    offsets: Tensor
    ids: Tensor
    grades: Tensor | None = None
    query_sources: Tensor | None = None
    sources: Tensor | None = None

    def __len__(self) -> int:
        return int(self.query_ids.shape[0])


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a picture becomes the tensor a backbone wants; saved with the model.

    size: (height, width) in pixels. mean, std: per channel, for pixels in 0..1. interpolation: "bicubic", "bilinear"
    or "nearest". crop: share of the shorter side kept by the centre crop at evaluation (timm's crop_pct), 0..1.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop: float = 0.875


@dataclass(slots=True, eq=False)
class TrainingBatch:
    """What one training step sees. Absent fields are None; a component lists what it cannot do without in `needs`.

    images: (B, 3, H, W) float, or the cached output of the frozen stages (`stage` says which stage comes next).
    labels, ids: (B,) int64. positions: (B,) int64 rows of the table. second_view: like images, another augmentation.
    attributes: name -> (B,) int64 value index, -1 = unknown. texts: B strings. targets: (B, 3, H, W) float, the picture
    that each picture and its text ask for. task: the task or attribute asked for.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    positions: Tensor
    second_view: Tensor | None = None
    attributes: Mapping[str, Tensor] | None = None
    texts: Sequence[str] | None = None
    task: str | None = None
    stage: int = 0
    targets: Tensor | None = None

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def to(self, device: Any) -> Self:
        """The same batch on another device; itself where it is there already."""
        if self.labels.device == device:
            return self
        moved = copy.copy(self)
        for name in ("images", "labels", "ids", "positions", "second_view", "targets"):
            value = getattr(self, name)
            setattr(moved, name, None if value is None else value.to(device, non_blocking=True))
        if self.attributes is not None:
            moved.attributes = {name: codes.to(device) for name, codes in self.attributes.items()}
        return moved


@dataclass(slots=True, eq=False)
class Experience:
    """One stretch of learning: ordinary training is a stream of one. Tables are `fashreg.data.table.Table`.

    name: what the report calls it. train, validation: tables (validation may be None). task: the head or attribute
    that this experience teaches, None when the model has a single head. extra: what else is known of it; "kind" is the
    kind of a recipe's task (`fashreg.config_tasks.KINDS_OF_TASK`). parts: made of several, whose batches are dealt in
    turn, each with its own task; then `train` is None, and it is measured on the parts' validation tables.
    """

    name: str
    train: Any
    validation: Any | None = None
    task: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Experience, ...] = ()

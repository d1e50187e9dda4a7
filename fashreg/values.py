"""The small values that travel between rooms. No torch at import: tensors are named in annotations only.

The rule of ids stands in `fashreg.embedded`: they are unique per image, and a pair with equal ids is never a pair.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fashreg.embedded import AffineEmbedded, Embedded

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "AffineEmbedded",
    "Embedded",
    "Experience",
    "InputSpec",
    "Rankings",
    "Relevance",
    "TrainingBatch",
]


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

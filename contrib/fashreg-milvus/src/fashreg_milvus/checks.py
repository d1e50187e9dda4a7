"""What comes in, checked before anything is sent to Milvus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fashreg.functional.pair_scores import checked_vectors
from fashreg_milvus.collection import Array

UNIT = 1e-6  # a row this close to length 1 is kept bit for bit
_OURS = frozenset({"id", "unit", "vector"})


def prepared(vectors: Tensor, what: str, embed_dim: int, metric: Literal["cosine", "inner"]) -> Tensor:
    """Vectors (n, D) as fp32 on the CPU, finite, unit with "cosine"."""
    rows = checked_vectors(vectors.detach().cpu(), what)
    if rows.shape[1] != embed_dim:
        raise ValueError(f"{what} have width {rows.shape[1]}; this index holds vectors of width {embed_dim}")
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    other = ((length - 1).abs() > UNIT) & (length > 0)
    if metric == "inner" or not other.any():
        return rows.contiguous()
    return torch.where(other, rows / length.clamp(min=1e-300), rows).float().contiguous()


def checked_ids(ids: Tensor, done: str, count: int | None = None) -> Array:
    """Integer ids (n,), none of them twice; `count`: how many there must be."""
    if ids.ndim != 1 or ids.dtype.is_floating_point or ids.dtype == torch.bool or count not in (None, len(ids)):
        what = "ids (n,) must be integers" if count is None else f"{count} vectors need as many integer ids"
        raise ValueError(f"{what}, got {ids.dtype} {tuple(ids.shape)}; nothing was {done}")
    own: Array = ids.detach().cpu().long().numpy()
    values, times = np.unique(own, return_counts=True)
    refuse(values[times > 1], "ids must be unique; {} given twice; nothing was " + done)
    return own


def check_items(items: Sequence[Mapping[str, Any]] | None, count: int) -> None:
    """ValueError unless there are none, or as many as rows and without our own fields."""
    if items is None:
        return
    if len(items) != count:
        raise ValueError(f"{count} vectors need as many items, got {len(items)}; nothing was added")
    for row, item in enumerate(items):
        if _OURS & set(item):
            raise ValueError(f"item {row} has a field {min(_OURS & set(item))!r}, which is the index's own")


def refuse(bad: Array, message: str) -> None:
    """ValueError that names the first of these ids, if there is one."""
    if len(bad):
        shown = ", ".join(str(i) for i in bad[:5].tolist())
        more = f" and {len(bad) - 5} more are" if len(bad) > 5 else " is" if len(bad) == 1 else " are"
        raise ValueError(message.format(shown + more))

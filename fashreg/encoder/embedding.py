"""Any pictures to embedding vectors, in order: decoding in threads, the network in evaluation mode, no gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from fashreg.data.loader import evaluation_batches
from fashreg.data.pictures import Picture
from fashreg.data.table import Table
from fashreg.data.transforms import evaluation_transform
from fashreg.errors import DataError
from fashreg.training.allocator import keep_unless_declined
from fashreg.training.progress import Progress

if TYPE_CHECKING:
    from fashreg.encoder import Encoder

#: What `Encoder.embed` takes.
Items = Sequence[Picture] | Picture | pd.DataFrame | Table | Tensor
_COLUMNS = ("image", "path")


def embed_items(
    encoder: Encoder,
    items: Items,
    *,
    batch_size: int,
    task: str | None,
    workers: int | None,
    column: str | None,
    stage: int,
    progress: bool,
) -> Tensor:
    """See `Encoder.embed`."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if column is not None and not isinstance(items, pd.DataFrame):
        raise ValueError("column names a column of a DataFrame, and the items are none")
    if stage and not isinstance(items, Tensor):
        raise ValueError("stage says what a tensor holds; pictures are stage 0")
    count, batches = _batches(encoder, items, batch_size, workers, column)
    vectors = torch.empty(count, encoder.embed_dim)
    if encoder.device.type == "cpu":
        keep_unless_declined()
    done = 0
    with Progress(count, "pictures", shown=progress) as bar, encoder.evaluating(), torch.inference_mode():
        for images in batches:
            vectors[done : done + len(images)] = encoder(images.to(encoder.device), task, stage).float().cpu()
            done += len(images)
            bar.step(done)
    return vectors


def _batches(
    encoder: Encoder, items: Items, batch_size: int, workers: int | None, column: str | None
) -> tuple[int, Iterator[Tensor]]:
    if isinstance(items, Tensor):
        if not items.is_floating_point():
            raise ValueError(f"a tensor of prepared pictures is float (N, 3, H, W), got {items.dtype}")
        return len(items), (items[start : start + batch_size] for start in range(0, len(items), batch_size))
    pictures, boxes = _pictures(items, column)
    transform = evaluation_transform(encoder.input_spec)
    return len(pictures), evaluation_batches(pictures, transform, batch_size, workers, boxes=boxes)


def _pictures(items: Any, column: str | None) -> tuple[Sequence[Picture], Any]:
    if isinstance(items, Table):
        return items.paths, items.boxes
    if isinstance(items, pd.DataFrame):
        name = column or next((c for c in _COLUMNS if c in items.columns), "")
        if name not in items.columns:
            there = ", ".join(map(str, items.columns))
            raise DataError(f"no column {name or 'image'!r} with picture paths; say column=NAME, one of: {there}")
        return [str(path) for path in items[name]], None
    if isinstance(items, str | Path | bytes | Image.Image):
        return [items], None
    return list(items), None

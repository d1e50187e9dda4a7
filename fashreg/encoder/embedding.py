"""Any pictures to embedding vectors, in order: decoding in threads, the network in evaluation mode, no gradients.

The vectors of several tasks come from one pass of the trunk, to the bit those of a pass for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    count, batches = _batches(encoder, items, batch_size, workers, column, stage)
    made = _filled(encoder, count, batches, lambda images: [encoder(images, task, stage)], 1, progress)
    return made[0]


def embed_items_by_task(
    encoder: Encoder,
    items: Items,
    tasks: Sequence[str] | None,
    *,
    batch_size: int,
    workers: int | None,
    column: str | None,
    stage: int,
    progress: bool,
) -> dict[str, Tensor]:
    """See `Encoder.embed_tasks`."""
    wanted = _known_tasks(encoder, tasks)
    count, batches = _batches(encoder, items, batch_size, workers, column, stage)

    def answers(images: Tensor) -> Iterator[Tensor]:
        features = encoder.steps(images, stage, encoder.cuts)
        return (encoder.head(features, task) for task in wanted)

    made = _filled(encoder, count, batches, answers, len(wanted), progress)
    return dict(zip(wanted, made, strict=True))


def _filled(
    encoder: Encoder,
    count: int,
    batches: Iterator[Tensor],
    answers: Callable[[Tensor], Iterable[Tensor]],
    parts: int,
    progress: bool,
) -> list[Tensor]:
    """`parts` times (count, D): what `answers` makes of the pictures, batch by batch."""
    vectors = [torch.empty(count, encoder.embed_dim) for _ in range(parts)]
    if encoder.device.type == "cpu":
        keep_unless_declined()
    done = 0
    with Progress(count, "pictures", shown=progress) as bar, encoder.evaluating(), torch.inference_mode():
        for images in batches:
            for found, made in zip(vectors, answers(images.to(encoder.device)), strict=True):
                found[done : done + len(images)] = made.float().cpu()
            done += len(images)
            bar.step(done)
    return vectors


def _known_tasks(encoder: Encoder, tasks: Sequence[str] | None) -> list[str]:
    """The tasks to answer, each once; ValueError for those that the head does not serve."""
    known = encoder.head.tasks
    if not known:
        raise ValueError("this encoder has no tasks, but one vector for everything: use embed(items)")
    if isinstance(tasks, str):
        raise ValueError(f"tasks is a list of names, not the single name {tasks!r}: write [{tasks!r}]")
    wanted = list(dict.fromkeys(known if tasks is None else tasks))
    strange = [task for task in wanted if task not in known]
    if strange:
        raise ValueError(f"no task {strange[0]!r}; the tasks are {', '.join(known)}")
    return wanted


def _batches(
    encoder: Encoder, items: Items, batch_size: int, workers: int | None, column: str | None, stage: int
) -> tuple[int, Iterator[Tensor]]:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if column is not None and not isinstance(items, pd.DataFrame):
        raise ValueError("column names a column of a DataFrame, and the items are none")
    if stage and not isinstance(items, Tensor):
        raise ValueError("stage says what a tensor holds; pictures are stage 0")
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

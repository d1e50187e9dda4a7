"""What is asked, batch by batch: pictures that are read in threads, texts, or each picture with its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from fashreg.data.loader import evaluation_batches
from fashreg.data.pictures import Picture
from fashreg.data.table import Table
from fashreg.data.transforms import evaluation_transform
from fashreg.encoder.questions import paired, texts_of
from fashreg.errors import DataError
from fashreg.training.allocator import keep_unless_declined
from fashreg.training.progress import Progress

if TYPE_CHECKING:
    from fashreg.encoder import Encoder

#: What `Encoder.embed` takes.
Items = Sequence[Picture] | Picture | pd.DataFrame | Table | Tensor
Texts = Sequence[str] | str
#: Pictures of a batch (B, 3, H, W), and their B texts; None for what was not given.
Batch = tuple[Tensor | None, list[str] | None]
_COLUMNS = ("image", "path")


class Reading(NamedTuple):
    """How pictures and texts are read; see `Encoder.embed`."""

    batch_size: int = 64
    workers: int | None = None
    column: str | None = None
    stage: int = 0
    progress: bool = False


class Asked(NamedTuple):
    """How many rows there are to answer, of what, and the batches."""

    rows: int
    what: str
    batches: Iterator[Batch]


def asked_of(encoder: Encoder, items: Items | None, texts: Texts | None, reading: Reading) -> Asked:
    """The batches of pictures, of texts, or of both, where one of either is for all of the other."""
    if reading.batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {reading.batch_size}")
    if texts is None:
        assert items is not None
        count, pictures = _batches(encoder, items, reading)
        return Asked(count, "pictures", ((images, None) for images in pictures))
    if reading.stage:
        raise ValueError("stage says what a tensor of pictures holds, and is not for texts")
    said = texts_of(texts)
    if items is None:
        return Asked(len(said), "texts", ((None, part) for part in _parts(said, reading.batch_size)))
    count, pictures = _batches(encoder, items, reading)
    said = paired(count, said)
    if count == 1 and len(said) != 1:
        return Asked(len(said), "pairs", _spread(pictures, said, reading.batch_size))
    return Asked(count, "pairs", zip(pictures, _parts(said, reading.batch_size), strict=True))


def pass_all(encoder: Encoder, asked: Asked, answer: Callable[[int, Batch], None], *, progress: bool) -> None:
    """Call `answer` with the place of its first row and the batch, for every batch, in evaluation mode."""
    if encoder.device.type == "cpu":
        keep_unless_declined()
    done = 0
    bar = Progress(asked.rows, asked.what, shown=progress)
    with bar, encoder.evaluating(), _thawed(encoder), torch.inference_mode():
        for images, texts in asked.batches:
            rows = len(texts or ()) if images is None else len(images)
            answer(done, (None if images is None else images.to(encoder.device), texts))
            done += rows
            bar.step(done)


@contextmanager
def _thawed(encoder: Encoder) -> Iterator[None]:
    """Within the block no parameter is frozen: torch multiplies by a frozen matrix in another way (`should_fold` in
    aten's matmul asks), and what a model answers must not depend, to the bit, on how it was trained. Threads may share
    an encoder: frozen stays frozen.
    """
    frozen = [p for p in encoder.parameters() if p.is_floating_point() and not (p.requires_grad or p.is_inference())]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _parts(texts: list[str], size: int) -> Iterator[list[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def _spread(pictures: Iterator[Tensor], texts: list[str], size: int) -> Iterator[Batch]:
    """One picture, read once, with many texts."""
    (picture,) = pictures
    for part in _parts(texts, size):
        yield picture.expand(len(part), -1, -1, -1), part


def _batches(encoder: Encoder, items: Items, reading: Reading) -> tuple[int, Iterator[Tensor]]:
    size = reading.batch_size
    if reading.column is not None and not isinstance(items, pd.DataFrame):
        raise ValueError("column names a column of a DataFrame, and the items are none")
    if reading.stage and not isinstance(items, Tensor):
        raise ValueError("stage says what a tensor holds; pictures are stage 0")
    if isinstance(items, Tensor):
        if not items.is_floating_point():
            raise ValueError(f"a tensor of prepared pictures is float (N, 3, H, W), got {items.dtype}")
        return len(items), (items[start : start + size] for start in range(0, len(items), size))
    pictures, boxes = _pictures(items, reading.column)
    transform = evaluation_transform(encoder.input_spec)
    return len(pictures), evaluation_batches(pictures, transform, size, reading.workers, boxes=boxes)


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

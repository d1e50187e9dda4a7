"""Batches of pictures, prepared ahead by threads; the seed alone decides which variation of a picture is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fashreg.data.pictures import Picture, open_picture
from fashreg.data.prefetch import in_order
from fashreg.data.table import Table
from fashreg.data.transforms import Floats, PictureTransform, Pixels, normalised
from fashreg.errors import DataError
from fashreg.values import InputSpec, TrainingBatch

_PIECE = 16  # pictures that one thread prepares before it looks for other work


class DecodedPictures(Protocol):
    """Pictures of a table that are decoded already, by position."""

    def __getitem__(self, position: int) -> Pixels: ...  # (h, w, 3)


class TableDataset:
    """The pictures of a table as a backbone wants them.

    The variation of a picture is drawn from (seed, epoch, position, view) alone: neither the number of threads, nor
    the order of batches, nor an interruption changes it. Corner case: a position that a sampler repeats within one
    epoch looks the same each time.

    Args:
        table: the rows; positions 0..N-1 count its rows.
        transform: what is done to each picture.
        seed: of the variations, >= 0.
        views: 1, or 2 for batches with a second, differently varied view.
        decoded: pictures decoded before (`fashreg.data.decoded`); None opens the files.
        targets: whether batches also hold the target pictures, each varied on its own (as view 2). Every row must then
            have one; boxes do not apply to them.
        decoded_targets: the target pictures, decoded before; None opens their files.
    """

    def __init__(
        self,
        table: Table,
        transform: PictureTransform,
        *,
        seed: int = 0,
        views: int = 1,
        decoded: DecodedPictures | None = None,
        targets: bool = False,
        decoded_targets: DecodedPictures | None = None,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        if views not in (1, 2):
            raise ValueError(f"views must be 1 or 2, got {views}")
        if targets and not (table.targets and all(table.targets)):
            raise ValueError("batches with targets need a table with a target picture in every row")
        self.table, self.transform, self.seed, self.views, self.decoded = table, transform, seed, views, decoded
        self.targets, self.decoded_targets = targets, decoded_targets

    def __len__(self) -> int:
        return len(self.table)

    def pixels(self, position: int, epoch: int = 0, view: int = 0) -> Pixels:
        """(H, W, 3) uint8: the picture at a position, varied for an epoch and a view."""
        picture = self._picture(position) if self.decoded is None else self.decoded[position]
        return self.transform.pixels(picture, (self.seed, epoch, position, view))

    def target_pixels(self, position: int, epoch: int = 0) -> Pixels:
        """(H, W, 3) uint8: the target picture of a position, varied for an epoch independently of the picture."""
        kept = self.decoded_targets
        picture = self._target(position) if kept is None else kept[position]
        return self.transform.pixels(picture, (self.seed, epoch, position, 2))

    def _target(self, position: int) -> Image.Image:
        return open_picture((self.table.targets or [])[position], at_least=self.transform.at_least)

    def _picture(self, position: int) -> Image.Image:
        box = None if self.table.boxes is None else self.table.boxes[position]
        return boxed_picture(self.table.paths[position], box, self.transform.at_least)

    def batch(
        self,
        positions: Sequence[int],
        images: Tensor,
        second_view: Tensor | None = None,
        stage: int = 0,
        targets: Tensor | None = None,
    ) -> TrainingBatch:
        """Everything a training step may ask for about these positions; images may also be cached features."""
        where, table = np.asarray(positions, dtype=np.int64), self.table
        return TrainingBatch(
            images=images,
            labels=torch.from_numpy(table.labels[where]),
            ids=torch.from_numpy(table.ids[where]),
            positions=torch.from_numpy(where),
            second_view=second_view,
            attributes={name: torch.from_numpy(codes[where]) for name, (codes, _) in table.attributes.items()} or None,
            texts=None if table.texts is None else [table.texts[position] for position in where],
            stage=stage,
            targets=targets,
        )


def training_batches(
    dataset: TableDataset,
    batches: Iterable[Sequence[int]],
    *,
    epoch: int = 0,
    workers: int | None = None,
    prefetch: int = 3,
) -> Iterator[TrainingBatch]:
    """A TrainingBatch for each list of positions, in that order.

    batches: may be a sampler; it is read in the caller's thread, up to `prefetch` batches before they are given out,
    so note its state per batch when it must be saved. epoch: chooses the variations. workers: threads; None chooses
    from the processors, 0 uses none. prefetch: batches under way.
    """

    spec, views = dataset.transform.spec, range(dataset.views)

    def jobs() -> Iterator[tuple[tuple[Sequence[int], list[Floats]], list[Callable[[], None]]]]:
        for positions in batches:
            where = [int(position) for position in positions]
            made, pieces = [], []
            asked = [[partial(dataset.pixels, position, epoch, view) for position in where] for view in views]
            if dataset.targets:
                asked.append([partial(dataset.target_pixels, position, epoch) for position in where])
            for work in asked:
                out = np.empty((len(where), 3, *spec.size), dtype=np.float32)
                made.append(out)
                pieces += _pieces(out, work, spec)
            yield (where, made), pieces

    for positions, made in in_order(jobs(), workers=workers, ahead=prefetch):
        images = [torch.from_numpy(pictures) for pictures in made]
        yield dataset.batch(
            positions,
            images[0],
            images[1] if dataset.views == 2 else None,
            targets=images[-1] if dataset.targets else None,
        )


def evaluation_batches(
    pictures: Sequence[Picture],
    transform: PictureTransform,
    batch_size: int = 64,
    workers: int | None = None,
    *,
    boxes: NDArray[np.int64] | None = None,
    prefetch: int = 3,
) -> Iterator[Tensor]:
    """(B, 3, H, W) float for each `batch_size` pictures (paths, bytes, PIL images), in order; the last may be smaller.

    boxes: (N, 4) left, top, right, bottom: the part of each picture that counts. Which of several pictures is
    unusable is told by its path, or its number in the list.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")

    def one(number: int) -> Pixels:
        picture = pictures[number]
        name = "" if not isinstance(picture, bytes | Image.Image) else f"picture {number} of the list"
        return transform.pixels(boxed_picture(picture, None if boxes is None else boxes[number], None, name))

    def jobs() -> Iterator[tuple[Floats, list[Callable[[], None]]]]:
        for start in range(0, len(pictures), batch_size):
            numbers = range(start, min(start + batch_size, len(pictures)))
            out = np.empty((len(numbers), 3, *transform.spec.size), dtype=np.float32)
            yield out, _pieces(out, [partial(one, number) for number in numbers], transform.spec)

    for images in in_order(jobs(), workers=workers, ahead=prefetch):
        yield torch.from_numpy(images)


def _pieces(out: Floats, work: Sequence[Callable[[], Pixels]], spec: InputSpec) -> list[Callable[[], None]]:
    """Splits a batch among threads; each writes its own rows of `out`."""

    def fill(start: int) -> None:
        for row, make in enumerate(work[start : start + _PIECE], start):
            normalised(make(), spec, out[row])

    return [partial(fill, start) for start in range(0, len(work), _PIECE)]


def boxed_picture(picture: Picture, box: Iterable[int] | None, least: int | None, name: str = "") -> Image.Image:
    """An opened picture, or the part of it inside a box; with a box, every pixel is decoded."""
    image = open_picture(picture, name=name, at_least=least if box is None else None)
    if box is None:
        return image
    edges = [int(edge) for edge in box]
    left, top, right, bottom = edges
    right, bottom = min(right, image.width), min(bottom, image.height)
    if right <= left or bottom <= top:
        raise DataError(
            f"the box {edges} of {name or repr(picture)} lies outside its {image.width} x {image.height} pixels"
        )
    return image.crop((left, top, right, bottom))

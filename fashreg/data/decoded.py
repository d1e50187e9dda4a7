"""Pictures decoded once: 8-bit RGB, scaled down as far as training allows, in one memory-mapped file.

Geometry: the table's box is cut out, the picture is turned upright, and its short side is reduced to `short_side`
pixels (bicubic, antialiased, aspect kept); smaller pictures stay as they are. A file is used again while paths, file
sizes, file times, boxes and geometry are the same; a damaged one is made again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, __version__

from fashreg.config_data import AugmentConfig
from fashreg.data.blob import Blob, announcement, key_of, open_blob, refuse_without_room, write_blob
from fashreg.data.cache_folder import cache_folder
from fashreg.data.loader import boxed_picture
from fashreg.data.prefetch import default_workers
from fashreg.data.table import Table
from fashreg.data.transforms import Pixels
from fashreg.values import InputSpec

_FORMAT = 1
_ROUND = 256  # pictures decoded before they are written
_Box = tuple[int, int, int, int]
_Source = tuple[str, _Box | None]  # a file, and the part of it that counts


class DecodedStore:
    """The decoded pictures of a table by position, each (h, w, 3) uint8.

    Args:
        blob: the opened file, which holds each different picture once.
        places: (N,) which of its pictures each position has; by default its own order.
        target_places: the same for the target pictures, -1 where a row has none.
    """

    def __init__(
        self, blob: Blob, places: Sequence[int] | None = None, target_places: Sequence[int] | None = None
    ) -> None:
        self.blob, self.places, self.target_places = blob, places, target_places
        self._shapes = np.array(blob.description["shapes"], dtype=np.int64).reshape(-1, 2)
        self._ends = np.cumsum(self._shapes.prod(axis=1) * 3)

    def __len__(self) -> int:
        return len(self._shapes if self.places is None else self.places)

    def __getitem__(self, position: int) -> Pixels:
        place = position if self.places is None else self.places[position]
        if place < 0:
            raise IndexError(f"row {position} has no such picture")
        height, width = self._shapes[place].tolist()
        end = int(self._ends[place])
        return np.asarray(self.blob.data[end - height * width * 3 : end]).reshape(height, width, 3)

    @property
    def targets(self) -> DecodedStore | None:
        """The target pictures by position, where they were asked for."""
        return None if self.target_places is None else DecodedStore(self.blob, self.target_places)


def short_side_for(spec: InputSpec, augment: AugmentConfig) -> int:
    """Pixels of the short side that leave the smallest square crop of the augmentation no smaller than the input."""
    return math.ceil(max(spec.size) / math.sqrt(augment.scale[0]))


def decoded_pictures(
    table: Table,
    short_side: int,
    *,
    targets: bool = False,
    workers: int | None = None,
    folder: Path | None = None,
    announce: Callable[[str], None] | None = None,
) -> DecodedStore:
    """The store for a table: opened when it is there and whole, else decoded now by `workers` threads.

    targets: whether it holds the target pictures of the rows, too (`.targets`). A picture that stands in several rows,
    or is a target as well, is decoded and kept once. folder: where it lies; by default in the cache folder. announce:
    told the largest size before anything is written.
    Raises DataError when a picture cannot be read or the disk lacks room.
    """
    places, target_places, sources = _sources(table, targets)
    key = key_of(_made_from(sources, short_side))
    path = (cache_folder() / "decoded" if folder is None else folder) / f"{key[:32]}.pictures"
    found = open_blob(path)
    if found is not None and found.description.get("key") == key:
        return DecodedStore(found, places, target_places)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = _largest_size(sources, short_side)
    if announce is not None:
        announce(announcement(f"{len(sources):,} decoded pictures", size, path))
    refuse_without_room(path.parent, size)
    shapes: list[tuple[int, int]] = []
    write_blob(path, _chunks(sources, short_side, workers, shapes), lambda: {"key": key, "shapes": shapes})
    made = open_blob(path)
    assert made is not None, f"{path} was written and cannot be opened"
    return DecodedStore(made, places, target_places)


def _sources(table: Table, targets: bool) -> tuple[list[int], list[int] | None, list[_Source]]:
    """Which different picture each row shows, which one is its target (-1: none; None: not asked for), and these."""
    found: dict[_Source, int] = {}
    boxes: list[_Box | None] = [None] * len(table) if table.boxes is None else [tuple(b) for b in table.boxes.tolist()]
    places = [found.setdefault((path, box), len(found)) for path, box in zip(table.paths, boxes, strict=True)]
    wanted = None
    if targets and table.targets is not None:
        wanted = [found.setdefault((path, None), len(found)) if path else -1 for path in table.targets]
    return places, wanted, list(found)


def _chunks(
    sources: Sequence[_Source], short_side: int, workers: int | None, shapes: list[tuple[int, int]]
) -> Iterator[bytes]:
    def one(source: _Source) -> Pixels:
        path, box = source
        return np.asarray(_reduced(boxed_picture(path, box, 2 * short_side), short_side))

    with ThreadPoolExecutor(max(1, default_workers() if workers is None else workers)) as pool:
        for start in range(0, len(sources), _ROUND):
            for pixels in pool.map(one, sources[start : start + _ROUND]):
                shapes.append((pixels.shape[0], pixels.shape[1]))
                yield pixels.tobytes()


def _reduced(picture: Image.Image, short_side: int) -> Image.Image:
    short = min(picture.size)
    if short <= short_side:
        return picture
    width, height = (max(1, round(side * short_side / short)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _made_from(sources: Sequence[_Source], short_side: int) -> dict[str, object]:
    paths, boxes = [path for path, _ in sources], [box for _, box in sources]
    files = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, paths)]
    facts = {"format": _FORMAT, "pillow": __version__, "short_side": short_side}
    return {**facts, "paths": paths, "files": files, "boxes": boxes if any(boxes) else None}


def _largest_size(sources: Sequence[_Source], short_side: int) -> int:
    total = 0
    for path, box in sources:
        with open(path, "rb") as file, Image.open(file) as picture:
            width, height = picture.size
        if box is not None:
            left, top, right, bottom = box
            width, height = min(right, width) - left, min(bottom, height) - top
        shrink = min(1.0, short_side / max(1, min(width, height)))
        total += 3 * math.ceil(width * shrink) * math.ceil(height * shrink)
    return total

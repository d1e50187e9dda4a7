"""What is frozen runs once: its outputs in a memory-mapped file, several augmented views of each picture if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.data.blob import Blob, announcement, key_of, open_blob, refuse_without_room, write_blob
from fashreg.data.cache_folder import cache_folder
from fashreg.errors import DataError

Kept = Literal["float32", "float16", "bfloat16"]

_TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NUMPY: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<i2"),
}  # i2: its bits


class CachedFeatures:
    """Features of N pictures in V views, read by position. shape: of one picture's features.

    Args:
        blob: the opened file.
    """

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        facts = blob.description
        self.rows, self.views, self.dtype = int(facts["rows"]), int(facts["views"]), str(facts["dtype"])
        self.shape: tuple[int, ...] = tuple(facts["shape"])
        self._values = blob.data.view(_NUMPY[self.dtype]).reshape(self.views, self.rows, *self.shape)

    def __len__(self) -> int:
        return self.rows

    def read(self, positions: Sequence[int] | NDArray[np.int64], epoch: int = 0) -> Tensor:
        """(B, *shape) in the kept type, copied: the features of these positions, in view epoch % V."""
        where = np.asarray(positions, dtype=np.int64)
        if len(where) and not (where.min() >= 0 and where.max() < self.rows):
            raise IndexError(f"positions must be 0 to {self.rows - 1}, got {where.min()} to {where.max()}")
        values = torch.from_numpy(np.ascontiguousarray(self._values[epoch % self.views][where]))
        return values.view(torch.bfloat16) if self.dtype == "bfloat16" else values


class FeatureCache:
    """Files of features in one folder. It knows nothing of models: it is given what to call.

    Args:
        folder: where the files lie; None means `features` in the cache folder.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = folder

    def get_or_compute(
        self,
        key: Mapping[str, Any],
        rows: int,
        compute: Callable[[int], Iterable[Tensor]],
        *,
        views: int = 1,
        dtype: Kept = "float16",
        announce: Callable[[str], None] | None = None,
    ) -> CachedFeatures:
        """The features kept under a key; when there are none, or the file is damaged, computed and kept now.

        key: everything the features depend on: fingerprints of weights, preprocessing and data, the stage reached.
        rows: N. compute: takes a view 0..views-1 and gives batches (b, *shape) for positions 0, 1, .. N - 1 in order.
        views: augmented views of each picture; epoch e reads view e % views. dtype: what is kept. announce: told the
        size before anything is written. Raises DataError when the disk lacks room or a value does not fit the type.
        """
        if rows < 1 or views < 1 or dtype not in _TORCH:
            raise ValueError(
                f"rows and views must be >= 1 and dtype one of {', '.join(_TORCH)}, got {rows}, {views}, {dtype}"
            )
        whole = {"format": 1, "key": dict(key), "rows": rows, "views": views, "dtype": dtype}
        path = self.path_of(whole)
        found = open_blob(path)
        if found is None or not _fits(found, whole):
            filling = _Filling(path, rows, views, dtype, announce)
            write_blob(path, filling.chunks(compute), lambda: {**whole, "key": key_of(whole), "shape": filling.shape})
            found = open_blob(path)
            assert found is not None, f"{path} was written and cannot be opened"
        return CachedFeatures(found)

    def path_of(self, whole: dict[str, Any]) -> Path:
        """The file for a full description."""
        folder = cache_folder() / "features" if self.folder is None else Path(self.folder)
        return folder / f"{key_of(whole)[:32]}.features"


def _fits(blob: Blob, whole: dict[str, Any]) -> bool:
    facts = blob.description
    size = whole["views"] * whole["rows"] * prod(facts.get("shape", [-1])) * _NUMPY[whole["dtype"]].itemsize
    return facts.get("key") == key_of(whole) and size == len(blob.data)


class _Filling:
    """Checks and converts the batches of one file while it is written."""

    def __init__(self, path: Path, rows: int, views: int, dtype: Kept, announce: Callable[[str], None] | None) -> None:
        self.path, self.rows, self.views, self.dtype, self.announce = path, rows, views, dtype, announce
        self.shape: list[int] | None = None

    def chunks(self, compute: Callable[[int], Iterable[Tensor]]) -> Iterator[bytes]:
        """Bytes, view after view, position after position."""
        for view in range(self.views):
            seen = 0
            for batch in compute(view):
                if self.shape is None:
                    self._begin(list(batch.shape[1:]))
                if list(batch.shape[1:]) != self.shape or seen + len(batch) > self.rows:
                    raise ValueError(
                        f"batches must be (b, *{self.shape}), {self.rows} rows in all; got {tuple(batch.shape)}"
                    )
                seen += len(batch)
                yield self._bytes(batch)
            if seen != self.rows:
                raise ValueError(f"view {view} has {seen} rows, {self.rows} were announced")

    def _begin(self, shape: list[int]) -> None:
        self.shape = shape
        size = self.views * self.rows * prod(shape) * _NUMPY[self.dtype].itemsize
        if self.announce is not None:
            what = f"features {tuple(shape)} of {self.rows:,} pictures in {self.views} views as {self.dtype}"
            self.announce(announcement(what, size, self.path))
        refuse_without_room(self.path.parent, size)

    def _bytes(self, batch: Tensor) -> bytes:
        kept = batch.detach().to("cpu", _TORCH[self.dtype]).contiguous()
        if not torch.isfinite(kept).all():
            fits = "are not finite" if not torch.isfinite(batch).all() else f"do not fit {self.dtype}; keep bfloat16"
            raise DataError(f"some features {fits}, so they cannot be cached")
        bits = kept.view(torch.int16) if self.dtype == "bfloat16" else kept
        return bits.numpy().astype(_NUMPY[self.dtype], copy=False).tobytes()

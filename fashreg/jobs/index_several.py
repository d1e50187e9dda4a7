"""Changes to the indexes of several tasks at once: pictures pass the trunk once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.indexes.folder import load_index_folder
from fashreg.jobs.index_changes import Change, Pending, adding, deleting, opened, updating
from fashreg.jobs.index_model import encoder_of
from fashreg.jobs.index_tasks import indexes_in
from fashreg.jobs.indexing import open_gallery
from fashreg.jobs.opening import Model
from fashreg.jobs.task_vectors import TaskVectors
from fashreg.jobs.where import Where


def add_to_indexes(
    folder: str | Path,
    table: Any,
    *,
    model: Model | None = None,
    split: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Change]:
    """`add_to_index` for every index in a folder that `build_indexes` made, by the name of its folder.

    All are checked before the first is written; each folder is written whole or not at all.
    """
    pending = _all_checked(Path(folder), adding, table, model, split, options)
    return _applied(pending, batch_size, progress)


def update_indexes(
    folder: str | Path,
    table: Any,
    *,
    model: Model | None = None,
    split: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Change]:
    """`update_index` for every index in a folder that `build_indexes` made, as `add_to_indexes`."""
    pending = _all_checked(Path(folder), updating, table, model, split, options)
    return _applied(pending, batch_size, progress)


def delete_from_indexes(
    folder: str | Path, *, ids: Sequence[int] = (), images: Sequence[str | Path] = (), where: Where | None = None
) -> dict[str, Change]:
    """`delete_from_index` for every index in a folder that `build_indexes` made, as `add_to_indexes`."""
    pending = {path.name: deleting(load_index_folder(path), ids, images, where) for path in _inner(Path(folder))}
    return {name: delete() for name, delete in pending.items()}


def _inner(folder: Path) -> list[Path]:
    if not (inner := indexes_in(folder)):
        raise ModelError(f"{folder} holds no index folders: fashreg index build MODEL --every-task --out {folder}")
    return inner


def _all_checked(
    folder: Path,
    checked: Callable[..., Pending],
    table: Any,
    model: Model | None,
    split: str | None,
    options: Sequence[str],
) -> dict[str, Pending]:
    """Every index of the folder with its change. One encoder for all: each must hold that one's vectors."""
    inner = _inner(folder)
    first = load_index_folder(inner[0])
    gallery, rows, numbered = opened(first, table, model, split, options)
    found = {inner[0].name: checked(first, gallery, rows, numbered)}
    for path in inner[1:]:
        saved = load_index_folder(path)
        found[path.name] = checked(saved, open_gallery(saved, encoder_of(saved, gallery.encoder)), rows, numbered)
    return found


def _applied(pending: dict[str, Pending], batch_size: int, progress: bool) -> dict[str, Change]:
    first, *_ = pending.values()
    assert first.gallery.encoder is not None
    tasks = [one.gallery.task for one in pending.values()]
    vectors = TaskVectors(first.gallery.encoder, first.rows, tasks, batch_size=batch_size, progress=progress)
    return {name: one.apply(vectors(one.gallery.task)) for name, one in pending.items()}

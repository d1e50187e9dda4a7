"""Index folders that change: pictures come, go and are replaced. The folder is written anew, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from fashreg.assembly import spec_of
from fashreg.data.columns import counted, exact_text, examples
from fashreg.data.table import Table
from fashreg.errors import DataError
from fashreg.indexes.folder import SavedIndex, load_index_folder, save_index
from fashreg.jobs.gallery import Gallery
from fashreg.jobs.index_model import encoder_of, stamped
from fashreg.jobs.index_opening import open_index, own_folder
from fashreg.jobs.indexing import items_of, measure, open_gallery
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.jobs.where import Where, ids_where

_UPDATE = "Nothing was added; pictures that have changed are replaced by: fashreg index update"


@dataclass(frozen=True)
class Change:
    """What a change did: how many pictures it concerned, and how many the index holds now."""

    done: str
    count: int
    total: int

    def __str__(self) -> str:
        return f"{counted(self.count, 'picture')} {self.done}; the index holds {self.total}"


@dataclass(frozen=True, eq=False)
class Pending:
    """A change that was checked; it lacks the vectors of `rows`. items: what the index will know afterwards."""

    done: Literal["added", "updated"]
    saved: SavedIndex
    gallery: Gallery
    rows: Table
    ids: list[int]
    items: pd.DataFrame

    def apply(self, vectors: torch.Tensor) -> Change:
        """Change the index and write its folder anew. vectors: (N, D) of the rows."""
        index, ids = self.gallery.index, torch.tensor(self.ids, dtype=torch.int64)
        (index.add if self.done == "added" else index.update)(vectors, ids)
        _save(self.saved, self.gallery, self.items)
        return Change(self.done, len(self.rows), len(self.gallery))


def add_to_index(
    folder: str | Path,
    table: Any,
    *,
    model: Model | None = None,
    split: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Change:
    """Embed the pictures of a table and add them to an index folder.

    Without an id column the new pictures are numbered on from the largest id. DataError for ids and for pictures that
    the index has already, and nothing is added.
    """
    saved = load_index_folder(own_folder(folder))
    pending = adding(saved, *opened(saved, table, model, split, options))
    return pending.apply(embedded(pending, batch_size, progress))


def update_index(
    folder: str | Path,
    table: Any,
    *,
    model: Model | None = None,
    split: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Change:
    """Embed the pictures of a table again and replace vectors and what is known of them.

    Rows are matched by the id column where one is named, else by the path of the picture. DataError for rows that the
    index does not hold, and nothing is changed.
    """
    saved = load_index_folder(own_folder(folder))
    pending = updating(saved, *opened(saved, table, model, split, options))
    return pending.apply(embedded(pending, batch_size, progress))


def delete_from_index(
    folder: str | Path, *, ids: Sequence[int] = (), images: Sequence[str | Path] = (), where: Where | None = None
) -> Change:
    """Delete pictures from an index folder: by id, by path, or all of which `where` holds. The model is not needed."""
    return deleting(load_index_folder(own_folder(folder)), ids, images, where)()


def describe_index(folder: str | Path, task: str | None = None) -> Mapping[str, Any]:
    """What an index folder (or the index of a repository on the Hub) holds, as plain data. task: whose, of several."""
    saved = open_index(folder, task)
    columns = [] if saved.items is None else [str(name) for name in saved.items.columns if name != "id"]
    return {
        "folder": str(folder),
        "index": saved.spec["name"],
        "options": saved.spec["config"],
        "pictures": len(saved.ids),
        "embed_dim": saved.vectors.shape[1],
        "columns": columns,
        "recall": saved.recall,
        "model": saved.extra.get("model"),
        "model_fingerprint": saved.model_fingerprint,
        "task": saved.extra.get("task"),
        "kind": saved.extra.get("kind"),
        "task_fingerprint": saved.extra.get("task_fingerprint"),
        "bytes": sum(path.stat().st_size for path in saved.folder.iterdir()),
    }


def opened(
    saved: SavedIndex, table: Any, model: Model | None, split: str | None, options: Sequence[str]
) -> tuple[Gallery, Table, bool]:
    """The gallery with its encoder, the rows of a table, and whether their ids are only row numbers."""
    encoder = encoder_of(saved, model)
    chosen = model if model is not None else saved.extra["model"]
    rows, config = open_table(table, open_model(chosen)[1].data, split=split, options=options, need_label=False)
    return open_gallery(saved, encoder), rows, config.id is None


def adding(saved: SavedIndex, gallery: Gallery, rows: Table, numbered: bool) -> Pending:
    """Rows that come to an index; DataError for ids and pictures that it has."""
    folder = saved.folder
    ids = rows.ids if not numbered else saved.ids.numpy().max(initial=-1) + 1 + np.arange(len(rows))
    items = _items(rows, gallery, saved).assign(id=ids)
    taken = np.isin(ids, saved.ids.numpy())
    if taken.any():
        where = np.flatnonzero(taken)
        raise DataError(
            f"ids are in {folder} already: {examples(rows.rows[where], [ids[i] for i in where])}. {_UPDATE}"
        )
    if rows.boxes is None:
        known = np.flatnonzero([gallery.id_of(path) >= 0 for path in rows.paths])
        if len(known):
            shown = examples(rows.rows[known], [rows.images[i] for i in known])
            raise DataError(f"pictures are in {folder} already: {shown}. {_UPDATE}")
    return Pending("added", saved, gallery, rows, ids.tolist(), pd.concat([gallery.items, items], ignore_index=True))


def updating(saved: SavedIndex, gallery: Gallery, rows: Table, numbered: bool) -> Pending:
    """Rows that replace those of an index; DataError for rows that it does not hold."""
    folder, known = saved.folder, set(saved.ids.tolist())
    ids = [gallery.id_of(p) for p in rows.paths] if numbered else [i if i in known else -1 for i in rows.ids.tolist()]
    strange = [row for row, i in enumerate(ids) if i < 0]
    if strange:
        names = [rows.images[row] if numbered else rows.ids[row] for row in strange]
        shown = examples(rows.rows[strange], names)
        raise DataError(f"rows are not in {folder}: {shown}. Add them by: fashreg index add {folder} --table TABLE")
    items = _items(rows, gallery, saved).assign(id=ids)
    before = gallery.items.set_index("id").loc[ids]
    for name in set(before.columns) - set(items.columns):
        items[name] = before[name].tolist()  # what the table does not say stays
    old = gallery.items[~gallery.items["id"].isin(ids)]
    return Pending("updated", saved, gallery, rows, ids, pd.concat([old, items], ignore_index=True))


def deleting(
    saved: SavedIndex, ids: Sequence[int], images: Sequence[str | Path], where: Where | None
) -> Callable[[], Change]:
    """What deletes pictures from an index; DataError for those that it does not hold, and where none is meant."""
    gallery = open_gallery(saved, None)
    gone = set(map(int, ids))
    for image in images:
        if (found := gallery.id_of(image)) < 0:
            raise DataError(f"{image} is not in {saved.folder}")
        gone.add(found)
    chosen = ids_where(gallery.items, where)
    gone |= set([] if chosen is None else chosen.tolist())
    if not gone:
        raise DataError("say what to delete: --id N, --image FILE or --where COLUMN=VALUE")
    gallery.vectors_of(torch.tensor(sorted(gone)))  # says which are unknown

    def delete() -> Change:
        gallery.index.delete(torch.tensor(sorted(gone)))
        _save(saved, gallery, gallery.items[~gallery.items["id"].isin(gone)].reset_index(drop=True))
        return Change("deleted", len(gone), len(gallery))

    return delete


def _items(rows: Table, gallery: Gallery, saved: SavedIndex) -> pd.DataFrame:
    """What the index knows of its pictures, as far as this table says it: kept columns, and attributes as text."""
    present = [name for name in saved.extra.get("keep", ()) if name in rows.frame.columns]
    items = items_of(rows, present)
    for name in gallery.items.columns:
        if name not in items and name in rows.frame.columns:
            items[name] = pd.Series([text or None for text in exact_text(rows.frame[name])], dtype=object)
    return items[[name for name in items if name in gallery.items or not len(gallery.items)]]


def embedded(pending: Pending, batch_size: int, progress: bool) -> torch.Tensor:
    """The vectors of a change."""
    gallery = pending.gallery
    assert gallery.encoder is not None
    return gallery.encoder.embed(pending.rows, batch_size=batch_size, task=gallery.task, progress=progress)


def _save(saved: SavedIndex, gallery: Gallery, items: pd.DataFrame) -> None:
    """Write the folder anew, unless somebody else has since it was read; then BusyError, and theirs stays.

    An index of a fashreg that knew no fingerprints of tasks gets one, where the model that made it is at hand.
    """
    now = {} if gallery.encoder is None else stamped(gallery.encoder, gallery.task)
    save_index(
        gallery.index,
        saved.folder,
        items=items,
        model_fingerprint=saved.model_fingerprint,
        spec=spec_of(gallery.index),
        extra={**saved.extra, **now},
        recall=measure(gallery.index),
        unchanged_since=saved,
    )

"""Index folders as jobs: build one from a table, open one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fashreg.assembly import build, spec_of, told_by
from fashreg.data.columns import missing_column
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import DataError, FashregError, ModelError, OptionError
from fashreg.hub.address import SCHEME, is_address
from fashreg.indexes.folder import KIND, SavedIndex, fill_index, save_index
from fashreg.indexes.recall import exact_ids, recall_of, sample_rows
from fashreg.interfaces import Index
from fashreg.jobs.gallery import Gallery
from fashreg.jobs.index_model import encoder_of, finding_tasks, saved_task, stamped, task_of
from fashreg.jobs.index_opening import open_index
from fashreg.jobs.index_tasks import folders_for, tasks_of
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.jobs.task_vectors import TaskVectors
from fashreg.manifest import check_replaceable

__all__ = ["Gallery", "build_index", "build_indexes", "load_index"]

_QUERIES, _K = 500, 10  # what recall is measured on: rows of the index itself, each left out of its own answer


def build_index(
    model: Model,
    table: Any,
    out: str | Path | None = None,
    *,
    index: Any = "exact",
    split: str | None = None,
    task: str | None = None,
    keep: Sequence[str] = (),
    recall: float | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Gallery:
    """Embed a table and make it searchable; with `out`, write the index folder too (whole or not at all).

    model: model folder or Encoder. table: path, DataFrame or Table. index: name, spec, class or object. task: whose
    vectors, for a model with several (`build_indexes` makes an index for each). keep: columns of the table that hits
    show and filters may ask for, beside label and attributes. recall: the share of exact search's ten nearest that must
    be found, 0..1; the index searches as broadly as that takes. What it finds is measured either way, and stored.
    """
    encoder, trained = open_model(model)
    named = task_of(encoder, task, several=", or an index for each: --every-task")
    rows, _ = open_table(table, trained.data, split=split, options=options, need_label=False)
    items = items_of(rows, keep)
    _check_before(index, encoder, len(rows), [] if out is None else [Path(out)])
    vectors = encoder.embed(rows, batch_size=batch_size, task=named, progress=progress)
    built = _made(index, vectors, rows)
    measured = measure(built, recall)
    gallery = Gallery(built, items, encoder, named)
    if out is not None:
        _save(gallery, out, model, rows, keep, measured)
    return gallery


def build_indexes(
    model: Model,
    table: Any,
    out: str | Path | None = None,
    *,
    tasks: Sequence[str] | None = None,
    index: Any = "exact",
    split: str | None = None,
    keep: Sequence[str] = (),
    recall: float | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> dict[str, Gallery]:
    """An index for each task of a model: pictures pass the trunk once for all of them, as far as memory allows.

    tasks: which, default all that find pictures. out: a folder, in which each task gets an index folder of its own,
    called after it (`/` and its like as %2F). index: name, spec or class. The rest, and what each index is, as in
    `build_index`; `load_index(OUT, task=TASK)` opens one.
    """
    if not isinstance(index, str | Mapping | type):
        raise ValueError("an index object holds the vectors of one task: give the name of an index, a spec or a class")
    encoder, trained = open_model(model)
    wanted = tasks_of(encoder, tasks if tasks is not None or not encoder.head.tasks else finding_tasks(encoder))
    folders = None if out is None else folders_for(Path(out), wanted)
    rows, _ = open_table(table, trained.data, split=split, options=options, need_label=False)
    items = items_of(rows, keep)
    _check_before(index, encoder, len(rows), list((folders or {}).values()))
    vectors = TaskVectors(encoder, rows, wanted, batch_size=batch_size, progress=progress)
    galleries: dict[str, Gallery] = {}
    for task in wanted:
        built = _made(index, vectors(task), rows)
        measured = measure(built, recall)
        galleries[task] = Gallery(built, items, encoder, task)
        if folders is not None:
            _save(galleries[task], folders[task], model, rows, keep, measured)
    return galleries


def _check_before(index: Any, encoder: Encoder, count: int, folders: Sequence[Path]) -> None:
    """What can be known before hours of embedding: that the index can be made of so many pictures, and written."""
    for folder in folders:
        check_replaceable(Path(os.path.realpath(folder)), KIND)
    if isinstance(index, str | Mapping | type):
        _check_trained(build("index", index, facts={"embed_dim": encoder.embed_dim}), count)


def _made(index: Any, vectors: Tensor, rows: Table) -> Index:
    """An index of a table's vectors."""
    built: Index = build("index", index, facts={"embed_dim": vectors.shape[1]})
    built.add(vectors, torch.from_numpy(rows.ids))
    _check_trained(built, len(built))
    return built


def _save(
    gallery: Gallery, out: str | Path, model: Model, rows: Table, keep: Sequence[str], measured: Mapping[str, Any]
) -> None:
    """Write the index folder of a gallery that was just built."""
    encoder = gallery.encoder
    assert encoder is not None
    where = None if isinstance(model, Encoder) else os.path.abspath(model)
    if is_address(model):
        where = f"{SCHEME}{encoder.origin}"  # the very commit
    save_index(
        gallery.index,
        Path(out),
        items=gallery.items,
        model_fingerprint=encoder.fingerprint(),
        spec=spec_of(gallery.index),
        extra={"model": where, **stamped(encoder, gallery.task), "table": rows.fingerprint, "keep": list(keep)},
        recall=measured,
    )


def load_index(
    folder: str | Path, *, task: str | None = None, model: Model | None = None, across: bool = False
) -> Gallery:
    """The gallery saved in a folder (or beside the model of user/name@REV on the Hub), with the model that made it.

    task: whose index, where there is one for each of several (`build_indexes`).
    model: model folder or Encoder, when it has moved since; also a later one in which the index's task is as it was.
    Raises ModelError for a model whose vectors are others, even if the dimensions agree. across: ask with that model
    all the same (of the same width, with the index's task); `fashreg.compatibility` measures what that costs.
    """
    saved = open_index(folder, task)
    return open_gallery(saved, encoder_of(saved, model, across=across))


def open_gallery(saved: SavedIndex, encoder: Encoder | None) -> Gallery:
    """What an index folder holds, ready to search."""
    try:
        with told_by(saved.folder):
            index: Index = build("index", saved.spec, facts={"embed_dim": saved.vectors.shape[1]})
    except OptionError as error:
        raise ModelError(f"{saved.folder / 'index.json'} holds options that do not work: {error}") from error
    except FashregError:
        raise
    except Exception as error:  # a component may raise anything for options that a stranger chose
        raise ModelError(f"{saved.folder / 'index.json'} describes an index that cannot be made: {error!r}") from error
    task = saved_task(saved)
    items = saved.items if saved.items is not None else pd.DataFrame({"id": saved.ids.numpy()})
    items = items if "image" in items else items.assign(image="")
    return Gallery(fill_index(index, saved), items, encoder, task)


def measure(index: Index, least: float | None = None) -> dict[str, Any]:
    """What the index finds of the true nearest, for some of its own rows. least: widen its search until it is that."""
    queries, ids = sample_rows(index, _QUERIES)
    if len(ids) < 2:
        return {}
    if least is not None and hasattr(index, "tune"):
        index.tune(queries, _K, least, query_ids=ids)
    true = exact_ids(index, queries, _K, ids)
    found = recall_of(index, queries, _K, query_ids=ids, true=true)
    if least is not None and found < least:
        raise ModelError(
            f"the index finds {found:.3f} of the {_K} nearest at its broadest, and {least} was asked for: choose "
            "another kind, or --index exact"
        )
    return {f"recall@{_K}": round(found, 4), "queries": len(ids), "rows": len(index)}


def items_of(rows: Table, keep: Sequence[str] = ()) -> pd.DataFrame:
    """What hits show and filters ask for: id, image, label, attributes, and the columns to keep."""
    items: dict[str, Any] = {"id": rows.ids, "image": rows.paths}
    if rows.num_classes:
        items["label"] = [rows.label_names[code] if code >= 0 else "" for code in rows.labels]
    for name, (codes, values) in rows.attributes.items():
        _refuse_reserved(name)
        items[name] = [values[code] if code >= 0 else None for code in codes]
    for name in keep:
        if name not in rows.frame.columns:
            asked = missing_column(name, [str(c) for c in rows.frame.columns], "image")
            raise DataError(f"--keep: {asked.split('. Choose')[0]}", column=name)
        _refuse_reserved(name)
        items.setdefault(name, rows.frame[name].tolist())
    return pd.DataFrame({name: pd.Series(list(cells), dtype=object) for name, cells in items.items()}).astype(
        {"id": "int64"}
    )


def _refuse_reserved(name: str) -> None:
    if name in ("id", "image", "score"):
        raise DataError(f'the column "{name}" cannot be kept: hits have an {name} of their own; rename it', column=name)


def _check_trained(index: Any, count: int) -> None:
    """An index that is asked for and cannot be trained is not made; a growing one searches exactly meanwhile."""
    needed = getattr(index, "needed", 0)
    if count < needed and not index.trained:
        raise ModelError(
            f"{index.kind or index.factory} is trained on at least {needed:,} pictures, and there are {count:,}: "
            "take --index exact (quick enough for so few), or another kind"
        )

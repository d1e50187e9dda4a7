"""A searchable gallery: build it from a table, load it, ask it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fashreg.assembly import build, spec_of
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.indexes.folder import load_index_folder, save_index
from fashreg.interfaces import Index
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.jobs.reranking import rerankers_of, search_and_rerank


class Gallery:
    """An index, the rows it was built from, and the encoder that asks it.

    items: DataFrame with one row per picture: `id`, `image` (absolute path), and `label` where the table had one.
    """

    def __init__(self, index: Index, items: pd.DataFrame, encoder: Encoder, task: str | None = None) -> None:
        self.index, self.items, self.encoder, self.task = index, items, encoder, task
        self._row_of = {int(i): row for row, i in enumerate(items["id"])}
        self._id_of = {os.path.realpath(p): int(i) for p, i in zip(items["image"], items["id"], strict=True)}

    def __len__(self) -> int:
        return len(self.index)

    def search(
        self, queries: Any, k: int = 10, *, rerank: Any = None, batch_size: int = 64
    ) -> list[list[dict[str, Any]]]:
        """The k nearest pictures of each query, best first: dicts with id, score, image, label.

        queries: paths, PIL images or a DataFrame. k larger than the gallery gives the whole gallery. A path that is
        itself in the gallery leaves itself out. rerank: one reranker or several, as names, mappings or objects;
        scores are then those of the last one.
        """
        if k <= 0:
            raise ValueError(f"k must be at least 1, got {k}")
        vectors = self.encoder.embed(queries, batch_size=batch_size, task=self.task)
        own = [self.id_of(query) for query in queries] if isinstance(queries, Sequence) else [-1] * len(vectors)
        return self.search_vectors(vectors, k, query_ids=torch.tensor(own), rerank=rerank)

    def id_of(self, picture: Any) -> int:
        """The id of a path that is in the gallery, -1 for anything else."""
        return self._id_of.get(os.path.realpath(picture), -1) if isinstance(picture, str | Path) else -1

    def label_of(self, picture: Any) -> str | None:
        """The label of a path that is in the gallery, None for anything else or without labels."""
        row = self._row_of.get(self.id_of(picture))
        return None if row is None or "label" not in self.items else str(self.items["label"].iloc[row])

    def examples(self, count: int) -> list[Path]:
        """Pictures of the gallery, spread evenly over it."""
        rows = range(0, len(self.items), max(1, len(self.items) // count))
        return [Path(self.items["image"].iloc[row]) for row in list(rows)[:count]]

    def search_vectors(
        self, vectors: torch.Tensor, k: int = 10, *, query_ids: torch.Tensor | None = None, rerank: Any = None
    ) -> list[list[dict[str, Any]]]:
        """Like search, for embeddings (Q, D). query_ids: pictures of the gallery that leave themselves out."""
        k = min(k, len(self.index))
        rankings = search_and_rerank(self.index, vectors, k, rerankers_of(rerank), query_ids=query_ids)
        return [
            [self._hit(i, score) for i, score in zip(ids, scores, strict=True) if i >= 0]
            for ids, scores in zip(rankings.ids.tolist(), rankings.scores.tolist(), strict=True)
        ]

    def _hit(self, item_id: int, score: float) -> dict[str, Any]:
        row = self.items.iloc[self._row_of[item_id]].to_dict()
        return {"id": item_id, "score": score, **{str(key): value for key, value in row.items() if key != "id"}}


def build_index(
    model: Model,
    table: Any,
    out: str | Path | None = None,
    *,
    index: Any = "exact",
    split: str | None = None,
    task: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> Gallery:
    """Embed a table and make it searchable; with `out`, write the index folder too (whole or not at all).

    model: model folder or Encoder. table: path, DataFrame or Table. index: name, spec, class or object.
    """
    encoder, trained = open_model(model)
    rows, _ = open_table(table, trained.data, split=split, options=options, need_label=False)
    vectors = encoder.embed(rows, batch_size=batch_size, task=task, progress=progress)
    built: Index = build("index", index, facts={"embed_dim": vectors.shape[1]})
    built.add(vectors, torch.from_numpy(rows.ids))
    gallery = Gallery(built, _items(rows), encoder, task)
    if out is not None:
        where = None if isinstance(model, Encoder) else os.path.abspath(model)
        save_index(
            built,
            Path(out),
            items=gallery.items,
            model_fingerprint=encoder.fingerprint(),
            spec=spec_of(built),
            extra={"model": where, "task": task, "table": rows.fingerprint},
        )
    return gallery


def load_index(folder: str | Path, *, model: Model | None = None) -> Gallery:
    """The gallery saved in a folder, with the model that made it.

    model: model folder or Encoder, when it has moved since. Raises ModelError when the model's weights are not those
    the index was built with, even if the dimensions agree.
    """
    saved = load_index_folder(Path(folder))
    chosen = model if model is not None else saved.extra.get("model")
    if not chosen:
        raise ModelError(f"{folder} was built from a model in memory; say which one to ask with: --model FOLDER")
    if model is None and not Path(str(chosen)).is_dir():
        raise ModelError(f"the model of {folder} was at {chosen} and is not there now; say where: --model FOLDER")
    encoder, _ = open_model(chosen)
    if encoder.fingerprint() != saved.model_fingerprint:
        raise ModelError(
            f"{folder} was built with another model (fingerprint {saved.model_fingerprint[:12]}, this one is "
            f"{encoder.fingerprint()[:12]}); build it again: fashreg index build {chosen} --table TABLE --out {folder}"
        )
    index: Index = build("index", saved.spec, facts={"embed_dim": encoder.embed_dim})
    index.add(saved.vectors, saved.ids)
    items = saved.items if saved.items is not None else pd.DataFrame({"id": saved.ids.numpy(), "image": ""})
    return Gallery(index, items, encoder, saved.extra.get("task"))


def _items(rows: Table) -> pd.DataFrame:
    items = pd.DataFrame({"id": rows.ids, "image": rows.paths})
    if rows.num_classes:
        items["label"] = [rows.label_names[code] if code >= 0 else "" for code in rows.labels]
    return items

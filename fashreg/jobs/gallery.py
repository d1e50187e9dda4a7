"""A searchable gallery: an index, what its rows are, and the encoder that asks it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from fashreg.encoder import Encoder
from fashreg.encoder.asked import Texts
from fashreg.errors import DataError, ModelError
from fashreg.interfaces import Index
from fashreg.jobs.index_model import check_question
from fashreg.jobs.reranking import rerankers_of, search_and_rerank
from fashreg.jobs.where import Where, ids_where

Hit = dict[str, Any]


class Gallery:
    """An index, the rows it was built from, and the encoder that asks it.

    items: DataFrame with one row per picture: `id`, `image` (absolute path), `label` where the table had one, its
    attributes, and the columns that were kept. encoder: None when it was opened without (by id and vector only).
    """

    def __init__(self, index: Index, items: pd.DataFrame, encoder: Encoder | None, task: str | None = None) -> None:
        self.index, self.items, self.encoder, self.task = index, items, encoder, task
        self._row_of = {int(i): row for row, i in enumerate(items["id"])}

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        task = "" if self.task is None else f", task {self.task!r}"
        return f"Gallery({len(self):,} pictures, {type(self.index).__name__}{task})"

    def search(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        texts: Texts | None = None,
        where: Where | None = None,
        rerank: Any = None,
        batch_size: int = 64,
    ) -> list[list[Hit]]:
        """The k nearest pictures of each query, best first: dicts with id, score, image, label and what else is known.

        queries: paths, PIL images or a DataFrame. texts: what to find, in words; beside queries, each picture is
        changed as its text says ("but in red"), where one picture is for all texts and one text for all pictures. The
        task of the gallery must be one that is asked so. k larger than the gallery gives the whole gallery. A path that
        is itself in the gallery leaves itself out. where: search only pictures of which this holds: "category=dress",
        several such (all must hold), or {"category": ["dress", "skirt"]}. rerank: one reranker or several, as names,
        mappings or objects; scores are then those of the last one.
        """
        _check_k(k)
        if isinstance(queries, str | Path):
            queries = [queries]
        vectors = self.embed(queries, texts=texts, batch_size=batch_size)
        own = [self.id_of(query) for query in queries] if isinstance(queries, Sequence) else [-1] * len(vectors)
        own = own * len(vectors) if len(own) == 1 else own
        return self.search_vectors(vectors, k, query_ids=torch.tensor(own), where=where, rerank=rerank)

    def search_ids(self, ids: Sequence[int], k: int = 10, *, where: Where | None = None, rerank: Any = None) -> Any:
        """Like search, for pictures of the gallery by their id, without the encoder; each leaves itself out."""
        asked = torch.tensor([int(i) for i in ids], dtype=torch.int64)
        return self.search_vectors(self.vectors_of(asked), k, query_ids=asked, where=where, rerank=rerank)

    def search_vectors(
        self,
        vectors: Tensor,
        k: int = 10,
        *,
        query_ids: Tensor | None = None,
        where: Where | None = None,
        rerank: Any = None,
    ) -> list[list[Hit]]:
        """Like search, for embeddings (Q, D). query_ids: pictures of the gallery that leave themselves out."""
        _check_k(k)
        if not len(self.index):
            raise ModelError("the index holds no picture: add some before searching (fashreg index add)")
        allowed = ids_where(self.items, where)
        k, rerankers = min(k, len(self.index)), rerankers_of(rerank)
        try:
            found = search_and_rerank(self.index, vectors, k, rerankers, query_ids=query_ids, allowed=allowed)
        except ValueError as error:
            raise DataError(str(error)) from error
        return [
            [self._hit(i, score) for i, score in zip(ids, scores, strict=True) if i >= 0]
            for ids, scores in zip(found.ids.tolist(), found.scores.tolist(), strict=True)
        ]

    def embed(self, pictures: Any = None, *, texts: Texts | None = None, batch_size: int = 64) -> Tensor:
        """Embeddings (Q, D) of pictures, as the gallery's own were made; of texts, or of both together."""
        if self.encoder is None:
            raise ModelError("this index was opened without its model: ask by id or vector, or open it with the model")
        if texts is not None:
            check_question(self.encoder, self.task, "texts" if pictures is None else "both")
        return self.encoder.embed(pictures, texts=texts, batch_size=batch_size, task=self.task)

    def vectors_of(self, ids: Tensor) -> Tensor:
        """Stored vectors (n, D) of pictures of the gallery."""
        unknown = [i for i in ids.tolist() if i not in self._row_of]
        if unknown:
            shown = ", ".join(map(str, unknown[:5]))
            raise DataError(f"no picture of the index has the id {shown}; it holds {len(self)} pictures")
        if hasattr(self.index, "vectors_of"):
            found: Tensor = self.index.vectors_of(ids)
            return found
        vectors, stored = self.index.vectors()
        ordered, rows = stored.sort()
        return vectors[rows[torch.searchsorted(ordered, ids)]]

    def picture_of(self, item_id: int) -> Path:
        """Where the picture with this id is."""
        return Path(str(self.items["image"].iloc[self._row_of[item_id]]))

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

    @cached_property
    def _id_of(self) -> dict[str, int]:
        """Made when first asked for: the file system is asked about every picture."""
        items = self.items
        return {os.path.realpath(p): int(i) for p, i in zip(items["image"], items["id"], strict=True)}

    def _hit(self, item_id: int, score: float) -> Hit:
        row = self.items.iloc[self._row_of[item_id]].to_dict()
        known = {str(key): None if value != value else value for key, value in row.items() if key != "id"}
        return {"id": item_id, "score": score, **known}


def _check_k(k: int) -> None:
    if k <= 0:
        raise ValueError(f"k must be at least 1, got {k}")

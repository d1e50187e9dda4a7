"""Exact search without any index structure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field
from torch import Tensor

from fashreg.indexes.folder import load_as, save_index
from fashreg.indexes.rows import Rows
from fashreg.values import Rankings


class ExactIndex:
    """Every query is compared with every vector: nothing to train or tune, and nothing is missed.

    score(q, g) = q.g / (|q| |g|) with "cosine", q.g with "inner"; equal scores are ordered by the smaller id, so the
    answer depends on neither the order of adding nor the size of blocks (see fashreg.functional.neighbours). Time grows
    as Q N D: milliseconds for a query among 100,000 vectors of 128 numbers.

    Corner cases of search: k beyond what there is pads with -1 / -inf; an empty index, k < 1, NaN, infinity, a width
    other than embed_dim, an empty `allowed` or ids in it that the index does not hold raise ValueError.

    See also: faiss (approximate search for millions of vectors).

    Args:
        metric: "cosine" makes every vector unit on its way in; "inner" takes inner products of vectors as they are.
        embed_dim: D, width of the vectors.
    """

    def __init__(
        self, metric: Literal["cosine", "inner"] = "cosine", *, embed_dim: Annotated[int, Field(gt=0, le=2**20)]
    ) -> None:
        self.metric, self.embed_dim = metric, embed_dim
        self._rows = Rows(embed_dim, metric)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (N, D) under new ids (N,) int64 >= 0; all of them or, on a ValueError, none."""
        self._rows.add(vectors, ids)

    def delete(self, ids: Tensor) -> None:
        """Forget stored ids (n,), each given once; all of them or, on a ValueError, none."""
        self._rows.delete(ids)

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        """Give stored ids (n,) other vectors (n, D); all of them or, on a ValueError, none."""
        self._rows.update(vectors, ids)

    def search(
        self, vectors: Tensor, k: int, *, query_ids: Tensor | None = None, allowed: Tensor | None = None
    ) -> Rankings:
        """The k best of each query, best first. vectors: (Q, D) float. Rankings of shape (Q, k).

        query_ids: (Q,): the row of the same id is left out (negative: none). allowed: search only these ids.
        """
        queries = self._rows.prepared(vectors, "the queries")
        return self._rows.gallery(allowed).search(queries, k, query_ids)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """What is stored: vectors (N, D) fp32, unit with "cosine", and ids (N,), in the order of adding."""
        return self._rows.vectors, self._rows.ids

    def restore(self, vectors: Tensor, ids: Tensor, structure: Mapping[str, Tensor]) -> None:
        """Fill an empty index with rows read from a file; they are kept, not copied. There is no structure."""
        self._rows.adopt(vectors, ids)

    def vectors_of(self, ids: Tensor) -> Tensor:
        """The stored vectors (n, D) of these ids (n,)."""
        return self._rows.vectors_of(ids)

    def save(self, folder: Path) -> None:
        """Write an index folder, whole or not at all."""
        save_index(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index saved in a folder; ModelError naming the file when anything in it is damaged."""
        return load_as(cls, folder)

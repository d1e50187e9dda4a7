"""Approximate search by FAISS, its answers scored again from the stored vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional.neighbours import check_query_ids
from fashreg.functional.pair_scores import product_error
from fashreg.indexes.faiss_arrays import restore_structure, structure_arrays
from fashreg.indexes.faiss_making import Kind, faiss_threads, library
from fashreg.indexes.faiss_structure import Structure
from fashreg.indexes.folder import load_as, save_index
from fashreg.indexes.recall import exact_ids, recall_of
from fashreg.indexes.rescoring import rank_exactly
from fashreg.indexes.rows import Rows
from fashreg.values import Rankings

_SPARE = 16  # candidates beyond those wanted: room for the query itself and for ties
_MOST_CANDIDATES = 4096  # beyond this many, exact search is as quick
Count = Annotated[int, Field(gt=0, lt=2**31)]
_NARROW, _FEW = 10, 20_000  # fewer than one row in 10, or no more than 20,000, are allowed: they are searched exactly


class FaissIndex:
    """FAISS structures by kind or factory string; candidates are scored again from the stored vectors.

    kind "flat" is exact; "sq8" scans codes of 8 bits a number; "ivf-sq8" scans the codes of a few of many lists;
    "ivf-pq" does so with codes of 2 bits a number; "hnsw" walks a graph over 8-bit codes. The number of lists follows
    the number of vectors, and grows with it. Or any factory string: "IVF4096,PQ32", "HNSW32", "OPQ32,IVF1024,PQ32x4fs".

    FAISS proposes candidates; their scores are computed again from the stored vectors and ordered as exact search
    orders them, so an answer can miss a neighbour but never carries a rounded score. "flat" misses nothing: where its
    rounding leaves the last place open, that query is searched exactly. Structures that must be trained train
    themselves once `train_min` vectors are there; until then search is exact. `recall` measures what a structure
    misses, `tune` widens its search until it misses little enough.

    `allowed` loses nothing by being narrow: few allowed ids are searched exactly, more of them by a search that is as
    much broader as they are fewer, and queries for which candidates run out exactly again. Deleted and updated rows
    are passed over, and the structure is made anew when a quarter of it is stale.

    The structure is a cache: of what is saved, what is costly to make again is kept (as plain numbers), and the rest is
    made again on loading.

    Source: Douze et al., "The Faiss library", 2024, https://arxiv.org/abs/2401.08281; factory strings:
        https://github.com/facebookresearch/faiss/wiki/The-index-factory

    See also: exact (no structure at all; enough up to some 100,000 vectors).

    Args:
        factory: FAISS factory string, without IDMap (ids are kept beside it).
        metric: "cosine" makes every vector unit on its way in; "inner" takes inner products of vectors as they are.
        nprobe: lists of an IVF structure that are visited; None visits one in 16, at least 8.
        ef_search: breadth of the search in an HNSW graph; None is 64.
        train_min: vectors needed before a structure is trained; None is 39 a centroid.
        refine: candidates fetched for each neighbour wanted; None is 1 for whole vectors and 8-bit codes, else 8.
        threads: threads FAISS may use; None is torch.get_num_threads().
        kind: a structure that suits the number of vectors, instead of a factory string.
        embed_dim: D, width of the vectors.
    """

    def __init__(
        self,
        factory: str = "Flat",
        metric: Literal["cosine", "inner"] = "cosine",
        nprobe: Count | None = None,
        ef_search: Count | None = None,
        train_min: Count | None = None,
        refine: Count | None = None,
        threads: Count | None = None,
        kind: Kind | None = None,
        *,
        embed_dim: Annotated[int, Field(gt=0, le=2**20)],
    ) -> None:
        self.factory, self.metric, self.embed_dim, self.kind = factory, metric, embed_dim, kind
        self.nprobe, self.ef_search, self.train_min = nprobe, ef_search, train_min
        self.refine, self.threads = refine, threads
        given = [n for n in (nprobe, ef_search, train_min, refine, threads) if n is not None]
        if any(not 1 <= n < 2**31 for n in given):
            raise ValueError("nprobe, ef_search, train_min, refine and threads must be at least 1, and below 2^31")
        if kind is not None and (kind not in get_args(Kind) or factory != "Flat"):
            raise ValueError(
                f"kind is one of {', '.join(get_args(Kind))}, without a factory; got {kind!r}, {factory!r}"
            )
        self._rows = Rows(embed_dim, metric)
        self._structure: Structure | None = None
        if (kind or factory) not in ("flat", "Flat"):
            self._structure = Structure(embed_dim, factory, kind, nprobe or ef_search, train_min, threads)
        self._check_breadth()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def trained(self) -> bool:
        """Whether the FAISS structure is in use; before, and with "flat", search is exact."""
        return self._structure is not None and self._structure.ready

    @property
    def needed(self) -> int:
        """Vectors without which the structure is not trained; 0 with "flat"."""
        return 0 if self._structure is None else self._structure.needed

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (N, D) under new ids (N,) int64 >= 0; all of them or, on a ValueError, none."""
        before = len(self)
        self._rows.add(vectors, ids)
        if self._structure is not None:
            self._structure.put(self._rows, torch.arange(before, len(self)))

    def delete(self, ids: Tensor) -> None:
        """Forget stored ids (n,), each given once; all of them or, on a ValueError, none."""
        stay = self._rows.delete(ids)
        if self._structure is not None and not stay.all():
            self._structure.slots.close_gaps(stay)
            self._structure.put(self._rows, torch.arange(0))

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        """Give stored ids (n,) other vectors (n, D); all of them or, on a ValueError, none."""
        rows = self._rows.update(vectors, ids)
        if self._structure is not None and len(rows):
            self._structure.slots.vacate(rows)
            self._structure.put(self._rows, rows)

    @torch.no_grad()
    def search(
        self, vectors: Tensor, k: int, *, query_ids: Tensor | None = None, allowed: Tensor | None = None
    ) -> Rankings:
        """The k best of each query, best first. vectors: (Q, D) float. Rankings of shape (Q, k).

        query_ids: (Q,): the row of the same id is left out (negative: none). allowed: search only these ids.
        """
        queries = self._rows.prepared(vectors, "the queries")
        check_query_ids(len(queries), query_ids)
        where = None if allowed is None else self._rows.where(allowed)
        pool = len(self) if where is None else len(where)
        refine = self.refine or (1 if self._structure is None else self._structure.refine)
        fetch = k * refine + _SPARE
        narrow = where is not None and (self._structure is None or pool * _NARROW < len(self) or pool <= _FEW)
        ready = self._structure is None or self.trained
        if k < 1 or not ready or narrow or fetch > min(_MOST_CANDIDATES, pool) or not len(queries):
            return self._rows.gallery(allowed).search(queries, k, query_ids)
        columns, floor = self._candidates(queries, fetch, where)
        if query_ids is not None:
            itself = (self._rows.ids[columns] == query_ids[:, None]) & (query_ids[:, None] >= 0)
            columns = columns.masked_fill(itself, -1)
        with faiss_threads(self.threads):
            found = rank_exactly(queries, *self.vectors(), columns, k, self._rows.largest)
        unsure = floor >= found.scores[:, -1]  # also where places stayed empty
        if unsure.any():
            own = None if query_ids is None else query_ids[unsure]
            exact = self._rows.gallery(allowed).search(queries[unsure], k, own)
            found.ids[unsure], found.scores[unsure] = exact.ids, exact.scores
        return found

    def recall(self, vectors: Tensor, k: int = 10, *, query_ids: Tensor | None = None) -> float:
        """Share of the true k nearest that search finds for these queries (Q, D)."""
        return recall_of(self, vectors, k, query_ids=query_ids)

    def tune(self, vectors: Tensor, k: int = 10, least: float = 0.95, *, query_ids: Tensor | None = None) -> float:
        """Double `nprobe` or `ef_search` until `recall` for these queries is at least `least`; gives the recall."""
        true = exact_ids(self, vectors, k, query_ids)
        found = recall_of(self, vectors, k, query_ids=query_ids, true=true)
        while found < least and self._structure is not None and self._structure.widen():
            breadth = self._structure.breadth
            self.nprobe, self.ef_search = (breadth, None) if self._structure.lists else (None, breadth)
            found = recall_of(self, vectors, k, query_ids=query_ids, true=true)
        return found

    def vectors(self) -> tuple[Tensor, Tensor]:
        """What is stored: vectors (N, D) fp32, unit with "cosine", and ids (N,), in the order of adding."""
        return self._rows.vectors, self._rows.ids

    def structure(self) -> dict[str, Tensor]:
        """What of the structure is worth keeping beside the vectors, as plain numbers; empty where nothing is."""
        return {} if self._structure is None or not self.trained else structure_arrays(self._structure)

    def restore(self, vectors: Tensor, ids: Tensor, structure: Mapping[str, Tensor]) -> None:
        """Fill an empty index with what `vectors` and `structure` of another one of the same options gave.

        The tensors are kept, not copied. ValueError where the numbers cannot be those of such a structure.
        """
        self._rows.adopt(vectors, ids)
        if self._structure is None:
            return
        if not (structure and restore_structure(self._structure, self._rows.vectors, structure)):
            self._structure.put(self._rows, torch.arange(len(self)))

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

    def _candidates(self, queries: Tensor, fetch: int, where: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows (Q, fetch), -1 for none, and the score below which nothing was left out (-inf if unknown)."""
        if self._structure is not None:
            allowed, share = None, 1.0
            if where is not None:
                allowed, share = torch.zeros(len(self), dtype=torch.bool), len(where) / len(self)
                allowed[where] = True
            columns = self._structure.search(queries, fetch, allowed, share)
            return columns, torch.full((len(queries),), -torch.inf)
        faiss = library()

        with faiss_threads(self.threads):
            rows = self._rows.vectors.numpy()
            scores, found = faiss.knn(queries.numpy(), rows, fetch, metric=faiss.METRIC_INNER_PRODUCT)
        error = product_error(queries, self._rows.gallery().largest)
        return torch.from_numpy(found), torch.from_numpy(scores[:, -1]) + error

    def _check_breadth(self) -> None:
        made = self._structure
        for name, value, fits in (
            ("nprobe", self.nprobe, made is not None and made.lists > 0),
            ("ef_search", self.ef_search, made is not None and made.is_graph),
            ("train_min", self.train_min, made is not None and not made.ready),
        ):
            if value is not None and not fits:
                raise ValueError(f"{name} does not apply to {self.kind or f'factory {self.factory!r}'}")

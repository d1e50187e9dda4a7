"""Approximate search by FAISS, its answers scored again from the stored vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional.neighbours import check_query_ids
from fashreg.functional.pair_scores import product_error, rank_candidates
from fashreg.indexes.folder import load_as, save_index
from fashreg.indexes.rows import Rows
from fashreg.indexes.slots import Slots
from fashreg.values import Rankings

_SPARE = 16  # candidates beyond those wanted: room for the query itself and for ties
_TRAIN_POINTS = 39  # vectors a centroid, below which FAISS itself warns
_MOST_CANDIDATES = 4096  # beyond this many, filtered search is exact search among what is allowed


class FaissIndex:
    """FAISS structures by factory string: "Flat" (exact), "IVF1024,PQ32", "HNSW32", "SQ8", "OPQ32,IVF4096,PQ32x4fs".

    FAISS proposes candidates; their scores are computed again from the stored vectors and ordered as exact search
    orders them, so an answer can miss a neighbour but never carries a rounded score. "Flat" misses nothing: where its
    rounding leaves the last place open, that query is searched exactly. Structures that must be trained are trained by
    themselves on the first `train_min` vectors or more; until then search is exact. `recall(queries, k)` measures what
    a structure misses. `allowed` is answered exactly where few ids are allowed or where candidates run out, so no
    selectivity loses results.

    The structure is a cache: it is not saved, and loading makes it again from the vectors.

    Source: Douze et al., "The Faiss library", 2024, https://arxiv.org/abs/2401.08281; factory strings:
        https://github.com/facebookresearch/faiss/wiki/The-index-factory

    See also: exact (no structure at all; enough up to some 100,000 vectors).

    Args:
        factory: FAISS factory string, without IDMap (ids are kept beside it).
        metric: "cosine" makes every vector unit on its way in; "inner" takes inner products of vectors as they are.
        nprobe: lists of an IVF structure that are visited; None visits a sixteenth of them, at least 8.
        ef_search: breadth of the search in an HNSW graph; None is 64.
        train_min: vectors needed before a structure is trained; None is 39 a centroid.
        refine: candidates fetched for each neighbour wanted. More finds more where vectors are stored coarsely.
        threads: threads FAISS may use; None is torch.get_num_threads().
        embed_dim: D, width of the vectors.
    """

    def __init__(
        self,
        factory: str = "Flat",
        metric: Literal["cosine", "inner"] = "cosine",
        nprobe: Annotated[int, Field(gt=0)] | None = None,
        ef_search: Annotated[int, Field(gt=0)] | None = None,
        train_min: Annotated[int, Field(gt=0)] | None = None,
        refine: Annotated[int, Field(gt=0)] = 4,
        threads: Annotated[int, Field(gt=0)] | None = None,
        *,
        embed_dim: Annotated[int, Field(gt=0)],
    ) -> None:
        self.factory, self.metric, self.embed_dim = factory, metric, embed_dim
        self.nprobe, self.ef_search, self.train_min = nprobe, ef_search, train_min
        self.refine, self.threads = refine, threads
        if min(n for n in (nprobe, ef_search, train_min, refine, threads, 1) if n is not None) < 1:
            raise ValueError("nprobe, ef_search, train_min, refine and threads must be at least 1")
        self._rows = Rows(embed_dim, metric)
        self._slots = Slots()
        self._structure = None if factory == "Flat" else _made(factory, embed_dim)
        self._needed = _tuned(self._structure, factory, nprobe, ef_search, train_min)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def trained(self) -> bool:
        """Whether the FAISS structure is in use; before, and with "Flat", search is exact."""
        return self._structure is not None and bool(self._structure.is_trained)

    def add(self, vectors: Tensor, ids: Tensor) -> None:
        """Add vectors (N, D) under new ids (N,) int64 >= 0; all of them or, on a ValueError, none."""
        before = len(self)
        self._rows.add(vectors, ids)
        self._put(torch.arange(before, len(self)))

    def delete(self, ids: Tensor) -> None:
        """Forget stored ids (n,), each given once; all of them or, on a ValueError, none."""
        self._slots.close_gaps(self._rows.delete(ids))
        self._put(torch.arange(0))

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        """Give stored ids (n,) other vectors (n, D); all of them or, on a ValueError, none."""
        rows = self._rows.update(vectors, ids)
        self._slots.vacate(rows)
        self._put(rows)

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
        fetch = k * (self.refine if self._structure is not None else 1) + _SPARE
        fetch = fetch if where is None else -(-fetch * len(self) // len(where))
        fetch += len(self._slots) - len(self) if self.trained else 0
        ready = self._structure is None or self.trained
        if k < 1 or not ready or fetch > min(_MOST_CANDIDATES, max(len(self), len(self._slots))) or not len(queries):
            return self._rows.gallery(allowed).search(queries, k, query_ids)
        columns, floor = self._candidates(queries, fetch)
        columns = self._left(columns, query_ids, where)
        found = rank_candidates(queries, self._rows.vectors, self._rows.ids, columns, k)
        unsure = floor >= found.scores[:, -1]  # also where places stayed empty
        if unsure.any():
            own = None if query_ids is None else query_ids[unsure]
            exact = self._rows.gallery(allowed).search(queries[unsure], k, own)
            found.ids[unsure], found.scores[unsure] = exact.ids, exact.scores
        return found

    def recall(self, vectors: Tensor, k: int = 10) -> float:
        """Share of the true k nearest that search finds for these queries (Q, D)."""
        queries = self._rows.prepared(vectors, "the queries")
        k = min(k, len(self))
        found, true = self.search(queries, k).ids, self._rows.gallery().search(queries, k).ids
        return float((found[:, :, None] == true[:, None, :]).any(2).float().mean())

    def vectors(self) -> tuple[Tensor, Tensor]:
        """What is stored: vectors (N, D) fp32, unit with "cosine", and ids (N,), in the order of adding."""
        return self._rows.vectors, self._rows.ids

    def save(self, folder: Path) -> None:
        """Write an index folder, whole or not at all."""
        save_index(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index saved in a folder, its structure made again; ModelError naming the file that is damaged."""
        return load_as(cls, folder)

    def _put(self, rows: Tensor) -> None:
        """Tell the structure of new or changed rows (n,); train it when it can be, renew it when it is sparse."""
        if self._structure is None or (not self.trained and len(self) < self._needed):
            return
        with _faiss_threads(self.threads):
            if not self.trained:
                self._structure.train(self._rows.vectors.numpy())
                rows = torch.arange(len(self))
            elif self._slots.sparse:
                self._structure.reset()
                self._slots, rows = Slots(), torch.arange(len(self))
            if len(rows):
                self._structure.add(self._rows.vectors[rows].numpy())
        self._slots.take(rows)

    def _candidates(self, queries: Tensor, fetch: int) -> tuple[Tensor, Tensor]:
        """Positions (Q, fetch), -1 for none, and the score below which nothing was left out (-inf if unknown)."""
        import faiss

        with _faiss_threads(self.threads):
            if self._structure is not None:
                _, slots = self._structure.search(queries.numpy(), fetch)
                return self._slots.rows_of(torch.from_numpy(slots)), torch.full((len(queries),), -torch.inf)
            rows = self._rows.vectors.numpy()
            scores, columns = faiss.knn(queries.numpy(), rows, fetch, metric=faiss.METRIC_INNER_PRODUCT)
        error = product_error(queries, self._rows.gallery().largest)
        return torch.from_numpy(columns), torch.from_numpy(scores[:, -1]) + error

    def _left(self, columns: Tensor, query_ids: Tensor | None, where: Tensor | None) -> Tensor:
        """The candidates that may be answers: not the query itself, and only what is allowed; others become -1."""
        if query_ids is not None:
            itself = (self._rows.ids[columns] == query_ids[:, None]) & (query_ids[:, None] >= 0)
            columns = columns.masked_fill(itself, -1)
        if where is not None:
            allowed = torch.zeros(len(self) + 1, dtype=torch.bool)  # the last place answers for -1
            allowed[where] = True
            columns = columns.masked_fill(~allowed[columns], -1)
        return columns


def _made(factory: str, embed_dim: int) -> Any:
    """An empty structure of that factory string; ValueError with FAISS's reason for an impossible one."""
    import faiss

    if "IDMap" in factory:
        raise ValueError(f"factory {factory!r}: leave out IDMap, ids are kept beside the structure")
    try:
        return faiss.index_factory(embed_dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = re.sub(r"^Error in .* at .*?:\d+: (Error: '.*' failed: )?", "", str(error).strip())
        raise ValueError(f"FAISS cannot make {factory!r} for vectors of width {embed_dim}: {reason}") from None


def _tuned(structure: Any, factory: str, nprobe: int | None, ef_search: int | None, train_min: int | None) -> int:
    """Set the breadth of search; the number of vectors the structure wants before it is trained."""
    inner = _inner(structure)
    lists = getattr(inner, "nlist", None)
    for name, value, fits in (
        ("nprobe", nprobe, lists is not None),
        ("ef_search", ef_search, hasattr(inner, "hnsw")),
        ("train_min", train_min, structure is not None and not structure.is_trained),
    ):
        if value is not None and not fits:
            raise ValueError(f"{name} does not apply to factory {factory!r}")
    if lists is not None:
        inner.nprobe = min(lists, nprobe or max(8, lists // 16))
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = ef_search or 64
    if structure is None or structure.is_trained:
        return 0
    codes = _inner(inner.storage) if hasattr(inner, "storage") else inner
    words = (
        256 if "OPQ" in factory else int(getattr(codes, "ksub", 0) or getattr(getattr(codes, "pq", None), "ksub", 1))
    )
    return train_min or _TRAIN_POINTS * max(int(lists or 1), words)


def _inner(structure: Any) -> Any:
    """The structure inside transforms and refinements, as what it is."""
    import faiss

    while structure is not None:
        structure = faiss.downcast_index(structure)
        inside = getattr(structure, "index", None) or getattr(structure, "base_index", None)
        if inside is None:
            break
        structure = inside
    return structure


@contextmanager
def _faiss_threads(threads: int | None) -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or torch.get_num_threads())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

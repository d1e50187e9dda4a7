"""An index whose rows live in Milvus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.functional.neighbours import check_query_ids
from fashreg.indexes.folder import load_as, save_index
from fashreg.indexes.recall import recall_of
from fashreg.values import Rankings
from fashreg_milvus.asking import Asking
from fashreg_milvus.candidates import nothing
from fashreg_milvus.checks import check_items, checked_ids, prepared, refuse
from fashreg_milvus.collection import Array, Collection
from fashreg_milvus.database import Database

_SAMPLE = 64  # rows that are compared when a saved gallery meets its collection again


class MilvusIndex:
    """A gallery in Milvus: embedded Milvus Lite, or a Milvus cluster by its address.

    Milvus proposes candidates and sends their vectors; scores are computed again from these and ordered as exact search
    orders them (larger score, then smaller id). With structure "FLAT" nothing is missed: where rounding leaves the last
    place open, more is fetched. Other structures may miss neighbours (`recall` measures how many) but never carry a
    rounded score. Where Milvus answers with less than there is (a filter on a graph, lists not visited), or is asked
    for more than its 16,384, the rows in question are read and searched here, so no filter loses results.

    Rows are looked up before they are added, because Milvus itself stores an id twice; two processes that add the same
    new id at the same time are not told of one another. Vectors are read in the order of their ids.

    Source: Wang et al., "Milvus: A Purpose-Built Vector Data Management System", SIGMOD 2021,
        https://doi.org/10.1145/3448016.3457550

    See also: exact and faiss (in the memory of this process; quicker up to some millions of vectors).

    Args:
        uri: None keeps rows in a private database that ends with the process, "gallery.db" in that file of Milvus Lite
            (relative to the current folder), "http://HOST:19530" on a server.
        collection: name of the collection in the file or on the server; made if there is none.
        metric: "cosine" makes every vector unit on its way in; "inner" takes inner products of vectors as they are.
        index_type: Milvus's index type: "FLAT" (exact), "HNSW", "IVF_FLAT", "IVF_SQ8", ...; a server has more.
        build: build parameters of the structure, such as {"M": 32, "efConstruction": 200} or {"nlist": 1024}.
        probe: search parameters of the structure, such as {"ef": 128} or {"nprobe": 32}.
        refine: candidates fetched for each neighbour wanted, with structures other than "FLAT".
        token_env: environment variable with the server's token ("user:password" or a key). It is never saved.
        embed_dim: D, width of the vectors.
    """

    reaches: ClassVar[Mapping[str, Any]] = MappingProxyType({"uri": None, "token_env": "MILVUS_TOKEN"})

    def __init__(
        self,
        uri: str | None = None,
        collection: str = "gallery",
        metric: Literal["cosine", "inner"] = "cosine",
        index_type: str = "FLAT",
        build: dict[str, int | float] | None = None,
        probe: dict[str, int | float] | None = None,
        refine: Annotated[int, Field(gt=0)] = 4,
        token_env: str = "MILVUS_TOKEN",
        *,
        embed_dim: Annotated[int, Field(gt=0)],
    ) -> None:
        if min(refine, embed_dim) < 1 or metric not in ("cosine", "inner"):
            raise ValueError('refine and embed_dim must be at least 1 and metric "cosine" or "inner"')
        self.uri, self.collection, self.metric, self.index_type = uri, collection, metric, index_type
        self.build, self.probe, self.refine = build, probe, refine
        self.token_env, self.embed_dim = token_env, embed_dim
        self._database = Database(uri, collection, token_env)
        self._stored = Collection(self._database, metric, embed_dim, index_type, build or {})

    def __len__(self) -> int:
        return self._stored.count()

    def add(self, vectors: Tensor, ids: Tensor, items: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Add vectors (N, D) under new ids (N,) int64 >= 0; all of them or, on an error, none.

        items: one mapping a row: fields that are stored beside it, for `where` and for others who read the collection.
        """
        rows, new = self._prepared(vectors, "the vectors to add"), checked_ids(ids, "added", len(vectors))
        check_items(items, len(new))
        if len(new) and new.min() < 0:
            raise ValueError(f"ids must be 0 or larger, got {new.min()}; nothing was added")
        refuse(self._stored.stored(new), "ids must be unique; {} in the index already; nothing was added")
        self._stored.insert(new, rows.numpy(), items)

    def delete(self, ids: Tensor) -> None:
        """Forget stored ids (n,), each given once; all of them or, on a ValueError, none."""
        gone = checked_ids(ids, "deleted")
        self._need(gone, "deleted")
        self._stored.delete(gone)

    def update(self, vectors: Tensor, ids: Tensor) -> None:
        """Give stored ids (n,) other vectors (n, D); all of them or, on a ValueError, none."""
        rows, changed = self._prepared(vectors, "the new vectors"), checked_ids(ids, "updated", len(vectors))
        self._need(changed, "updated")
        self._stored.replace(changed, rows.numpy())

    @torch.no_grad()
    def search(
        self,
        vectors: Tensor,
        k: int,
        *,
        query_ids: Tensor | None = None,
        allowed: Tensor | None = None,
        where: str | None = None,
    ) -> Rankings:
        """The k best of each query, best first. vectors: (Q, D) float. Rankings of shape (Q, k).

        query_ids: (Q,): the row of the same id is left out (negative: none). allowed: search only these ids. where:
        search only rows whose items fit this Milvus expression, e.g. 'category == "dress" and price < 50'.
        """
        queries = self._prepared(vectors, "the queries")
        check_query_ids(len(queries), query_ids)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        own = torch.full((len(queries),), -1) if query_ids is None else query_ids.detach().cpu().long()
        if not len(queries):
            return nothing(0, k)
        asking = Asking(self._stored, self.metric, self.index_type, self.probe, self.refine)
        return asking.search(queries, k, own, allowed, where)

    def recall(self, vectors: Tensor, k: int = 10, *, query_ids: Tensor | None = None) -> float:
        """Share of the true k nearest that search finds for these queries (Q, D). Reads the whole gallery."""
        return recall_of(self, vectors, k, query_ids=query_ids)

    def vectors_of(self, ids: Tensor) -> Tensor:
        """Vectors (n, D) of stored ids (n,), in their order; ValueError for ids that are not stored."""
        names, places = np.unique(ids.detach().cpu().long().numpy(), return_inverse=True)
        found, rows = self._stored.vectors_of(names)
        refuse(np.setdiff1d(names, found), "ids must be in the index; {} not")
        return torch.from_numpy(rows[places])

    def vectors(self) -> tuple[Tensor, Tensor]:
        """What is stored: vectors (N, D) fp32, unit with "cosine", and ids (N,), ascending. Reads all of it."""
        ids, vectors = self._stored.read()
        return torch.from_numpy(vectors), torch.from_numpy(ids)

    def save(self, folder: Path) -> None:
        """Write an ordinary index folder, whole or not at all: the vectors as well, so any index can read it."""
        self._stored.flush()
        save_index(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index saved in a folder; ModelError naming the file that is damaged, or where the collection differs."""
        return load_as(cls, folder)

    def restore(self, vectors: Tensor, ids: Tensor, structure: Mapping[str, Tensor] | None = None) -> None:
        """Have the rows of a saved gallery: they are added to an empty collection, and must be those of another.

        The number of rows and a sample of vectors are compared; ModelError where they differ. structure: not used, as
        Milvus keeps its own.
        """
        count = len(self)
        if not count:
            self.add(vectors, ids)
            return
        sample = torch.linspace(0, len(ids) - 1, min(_SAMPLE, len(ids))).long()
        sample = sample[ids[sample].argsort()]
        found, rows = self._stored.vectors_of(ids[sample].numpy())
        wanted = self._prepared(vectors[sample], "the saved vectors").numpy()
        if count != len(ids) or not np.array_equal(found, ids[sample].numpy()) or not np.array_equal(rows, wanted):
            raise ModelError(
                f"the collection {self.collection!r} in {self.uri} has changed since this gallery was saved ({count} "
                f"rows, saved were {len(ids)}); save it anew (fashreg-milvus pull) or name another collection"
            )

    def close(self) -> None:
        """Let the database go; the index cannot be used any more. The end of the process does the same."""
        if self._database.close.alive:
            self._stored.flush()
            self._database.close()

    def _need(self, ids: Array, done: str) -> None:
        missing = np.setdiff1d(ids, self._stored.stored(ids))
        refuse(missing, "ids must be in the index; {} not; nothing was " + done)

    def _prepared(self, vectors: Tensor, what: str) -> Tensor:
        return prepared(vectors, what, self.embed_dim, self.metric)

"""One Milvus collection as rows: an id, a vector, and whatever fields its items have.

The field of the vectors is called `unit` where rows have length 1 and `vector` where they are taken as they are, so a
collection says by itself how it was filled. Reads see every write that came before (consistency level Strong).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from pymilvus import DataType
from pymilvus.exceptions import MilvusException

from fashreg.errors import ModelError
from fashreg_milvus.database import Database, quiet

Array = np.ndarray[Any, np.dtype[Any]]
FIELDS = {"cosine": "unit", "inner": "vector"}
MOST = 16_384  # rows that a server gives for one query, and queries in one call
IDS = 10_000  # ids in one filter
_BYTES = 16 << 20  # of vectors in one message; a server takes 64 MiB
_FLUSH = 4096  # rows after which Milvus Lite writes a segment: it is slow with many rows outside of segments
_LITE = ("FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX")


class Collection:
    """A collection that exists, made here if there is none of that name.

    structure: Milvus's index type. params: its build parameters.
    """

    def __init__(
        self,
        database: Database,
        metric: Literal["cosine", "inner"],
        embed_dim: int,
        structure: str,
        params: Mapping[str, int | float],
    ) -> None:
        self._database, self._client, self._name = database, database.client, database.name
        self._field, self._dim = FIELDS[metric], embed_dim
        self._loose = 0
        if database.local and structure not in _LITE:
            raise ValueError(f"index_type {structure!r}: Milvus Lite has {', '.join(_LITE)}; a server may have more")
        with self._said("cannot be opened"):
            if self._client.has_collection(self._name):
                self._check(structure)
            else:
                self._make(structure, dict(params))
            self._client.load_collection(self._name)

    def count(self, where: str = "") -> int:
        """Rows for which the expression holds; all without one."""
        with self._said("cannot be counted"):
            return int(self._client.query(self._name, filter=where, output_fields=["count(*)"])[0]["count(*)"])

    def stored(self, ids: Array) -> Array:
        """Those of the ids (n,) that are stored, ascending."""
        found = [row["id"] for part in _parts(ids, IDS) for row in self._query(among(part), ["id"])]
        return np.sort(np.array(found, dtype=np.int64))

    def vectors_of(self, ids: Array) -> tuple[Array, Array]:
        """Of ids (n,): those that are stored, ascending, and their vectors (n, D)."""
        size = max(1, min(IDS, _BYTES // (4 * self._dim)))
        found = [row for part in _parts(ids, size) for row in self._query(among(part), ["id", self._field])]
        return self._arrays(sorted(found, key=lambda row: int(row["id"])))

    def read(self, where: str = "") -> tuple[Array, Array]:
        """Ids (n,), ascending, and vectors (n, D) of all rows for which the expression holds."""
        size = max(1, min(MOST, _BYTES // (4 * self._dim)))
        parts = [self._arrays([])]
        with self._said("cannot be read"):
            pages = self._client.query_iterator(
                self._name, batch_size=size, filter=where, output_fields=["id", self._field]
            )
            while rows := pages.next():
                parts.append(self._arrays(rows))
            pages.close()
        ids, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = ids.argsort()
        return ids[order], vectors[order]

    def insert(self, ids: Array, vectors: Array, items: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Store new rows; when that fails on the way, those that were stored are taken out again."""
        try:
            for part in _parts(np.arange(len(ids)), max(1, min(_FLUSH, _BYTES // (4 * self._dim)))):
                rows = [{"id": int(ids[i]), self._field: vectors[i], **(items[i] if items else {})} for i in part]
                with self._said("takes no more rows"):
                    self._client.insert(self._name, rows)
                self._written(len(rows))
        except ModelError:
            with quiet():
                self.delete(ids)
            raise

    def replace(self, ids: Array, vectors: Array) -> None:
        """Other vectors for rows that are stored; their further fields stay."""
        for part in _parts(np.arange(len(ids)), max(1, min(_FLUSH, _BYTES // (4 * self._dim)))):
            rows = [{"id": int(ids[i]), self._field: vectors[i]} for i in part]
            with self._said("cannot be updated"):
                self._client.upsert(self._name, rows, partial_update=True)
            self._written(len(rows))

    def delete(self, ids: Array) -> None:
        """Forget rows; ids that are not stored are nothing to do."""
        for part in _parts(ids, IDS):
            with self._said("cannot be deleted from"):
                self._client.delete(self._name, ids=part.tolist())

    def nearest(
        self, queries: Array, limit: int, where: str, params: Mapping[str, int | float]
    ) -> tuple[Array, Array, Array]:
        """What Milvus finds for queries (Q, D): ids (Q, limit), vectors (Q, limit, D), scores (Q, limit).

        Places that stay empty: -1, 0, -inf.
        """
        ids = np.full((len(queries), limit), -1, dtype=np.int64)
        vectors = np.zeros((len(queries), limit, self._dim), dtype=np.float32)
        scores = np.full((len(queries), limit), -np.inf, dtype=np.float32)
        step = max(1, min(MOST, _BYTES // (limit * (4 * self._dim + 32))))
        for start in range(0, len(queries), step):
            with self._said("cannot be searched"):
                answers = self._client.search(
                    self._name,
                    data=list(queries[start : start + step]),
                    anns_field=self._field,
                    limit=limit,
                    filter=where,
                    output_fields=[self._field],
                    search_params={"metric_type": "IP", "params": dict(params)},
                )
            for row, hits in enumerate(answers, start=start):
                for place, hit in enumerate(hits):
                    ids[row, place], scores[row, place] = hit["id"], hit["distance"]
                    vectors[row, place] = hit["entity"][self._field]
        return ids, vectors, scores

    def flush(self) -> None:
        """Have Milvus Lite write a segment; a server sees to that by itself."""
        if self._database.local and self._loose:
            with self._said("cannot be written"):
                self._client.flush(self._name)
        self._loose = 0

    def _written(self, rows: int) -> None:
        self._loose += rows
        if self._loose >= _FLUSH:
            self.flush()

    def _query(self, where: str, fields: list[str]) -> list[dict[str, Any]]:
        with self._said("cannot be read"):
            return list(self._client.query(self._name, filter=where, output_fields=fields))

    def _arrays(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        vectors = np.array([row[self._field] for row in rows], dtype=np.float32).reshape(len(rows), self._dim)
        return np.array([row["id"] for row in rows], dtype=np.int64), vectors

    def _make(self, structure: str, params: dict[str, int | float]) -> None:
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field(self._field, DataType.FLOAT_VECTOR, dim=self._dim)
        self._client.create_collection(self._name, schema=schema, consistency_level="Strong")
        indexing = self._client.prepare_index_params()
        nested: dict[str, object] = {"params": params} if self._database.local else dict(params)  # Lite reads no others
        indexing.add_index(self._field, index_type=structure, metric_type="IP", params=nested)
        self._client.create_index(self._name, indexing, sync=False)

    def _check(self, structure: str) -> None:
        """ValueError unless the collection that is there was made for vectors of this kind."""
        about = self._client.describe_collection(self._name)
        fields = {f["name"]: (f["type"], f["params"].get("dim")) for f in about["fields"]}
        expected = {"id": (DataType.INT64, None), self._field: (DataType.FLOAT_VECTOR, self._dim)}
        if any(fields.get(name) != kind for name, kind in expected.items()):
            has = ", ".join(f"{name} {kind.name}{f' ({dim})' if dim else ''}" for name, (kind, dim) in fields.items())
            raise ValueError(
                f"the collection {self._name!r} in {self._database.where} has the fields {has}; this index needs "
                f"id INT64 and {self._field} FLOAT_VECTOR ({self._dim}): name another collection"
            )
        named = self._client.list_indexes(self._name, self._field)
        found = self._client.describe_index(self._name, named[0])["index_type"] if named else "nothing"
        if found != structure:
            raise ValueError(
                f"the collection {self._name!r} in {self._database.where} is of index_type {found}, not {structure}"
            )

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Quietly, and failures as ModelError that says where and what."""
        where = f"the collection {self._name!r} in {self._database.where}"
        if not self._database.close.alive:
            raise ModelError(f"{where} {what}: it was closed")
        try:
            with quiet():
                yield
        except MilvusException as error:
            raise ModelError(f"{where} {what}: {error.message}") from error


def among(ids: Array) -> str:
    """The expression for these ids. Written out: Milvus Lite has no templates."""
    return f"id in {ids.tolist()}"


def _parts(values: Array, size: int) -> Iterator[Array]:
    return (values[start : start + size] for start in range(0, len(values), size))

"""A table of pictures, read exactly and validated whole: what training, evaluation and search know about the data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashreg.config_data import DataConfig
from fashreg.data.check import Report, check_table
from fashreg.data.columns import codes_of
from fashreg.data.opening import open_source
from fashreg.data.source import TableSource
from fashreg.errors import DataError

__all__ = ["Attribute", "Report", "Table", "check_table", "read_table"]


class Attribute(NamedTuple):
    """One attribute of every row. codes: (N,) int64, -1 = unknown. names: the value of each code."""

    codes: NDArray[np.int64]
    names: list[str]


@dataclass(frozen=True, eq=False)
class Table:
    """One row per picture (N rows); never changed in place, `take` makes another.

    frame: the rows as given, with all columns. paths: absolute. rows: (N,) row numbers in the source, header excluded.
    labels: (N,) int64 codes 0..C-1, -1 = no label; label_names: the C original values. ids: (N,) int64 >= 0, unique in
    the source. splits: the value of the split column, or None. texts, query, gallery: None when there is no such
    column. boxes: (N, 4) int64 left, top, right, bottom in pixels, or None. protocol_name: of the benchmark that the
    table was converted from; None for other tables, and where the benchmark searches between pictures and texts
    (`fashreg.data.official.official_of(table.frame, table.source)` names it still). targets: absolute paths of the
    pictures that pictures and their texts ask for, "" where a row asks for none; target_images: the same as written;
    None without `data.target`. A picture may then stand in several rows.
    """

    frame: pd.DataFrame
    source: str
    paths: list[str]
    images: list[str]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    label_names: list[str]
    ids: NDArray[np.int64]
    attributes: dict[str, Attribute]
    texts: list[str] | None = None
    splits: list[str] | None = None
    query: NDArray[np.bool_] | None = None
    gallery: NDArray[np.bool_] | None = None
    boxes: NDArray[np.int64] | None = None
    protocol_name: str | None = None
    targets: list[str] | None = None
    target_images: list[str] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """C, the number of different labels."""
        return len(self.label_names)

    @property
    def has_labels(self) -> bool:
        """Whether every row has a label."""
        return bool((self.labels >= 0).all()) and self.num_classes > 0

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over what the table says (paths as written, labels, ids, texts, attributes, flags, boxes) and, of each
        file, the size and the last 64 bytes, which differ in nearly all pictures that differ. Neither the folder nor
        the files' times count, so a copy of the data has the same fingerprint.
        """
        names = [*self.label_names, ""]
        digest = hashlib.sha256(b"fashreg table 1")
        for column in (self.images, self._files, [names[code] for code in self.labels], self.ids.tolist(), self.texts):
            _feed(digest, column)
        for name, (codes, values) in sorted(self.attributes.items()):
            _feed(digest, [name, *(([*values, ""])[code] for code in codes)])
        for column in (self.query, self.gallery, self.boxes):
            _feed(digest, None if column is None else column.tolist())
        if self.targets is not None:
            _feed(digest, self.target_images)
            _feed(digest, [_size_and_end(path) for path in self.targets])
        return digest.hexdigest()

    @cached_property
    def pictures_fingerprint(self) -> str:
        """sha256 over what decides the pictures alone, row by row: paths as written, files, boxes. Tables of the same
        rows with other labels have the same.
        """
        digest = hashlib.sha256(b"fashreg pictures 1")
        for column in (self.images, self._files, None if self.boxes is None else self.boxes.tolist()):
            _feed(digest, column)
        return digest.hexdigest()

    @cached_property
    def _files(self) -> list[str]:
        return [_size_and_end(path) for path in self.paths]

    def labelled_by(self, attribute: str, values: Sequence[str] | None = None) -> Self:
        """The rows where an attribute is known, with its values as the labels, 0..C-1 in the order of their codes.

        It is the only attribute that the new table has. values: only rows with these. Raises DataError without rows.
        """
        codes, names = self.attributes[attribute]
        kept = np.array([values is None or name in values for name in [*names, ""]], dtype=np.bool_) & (
            np.arange(len(names) + 1) < len(names)
        )
        where = np.flatnonzero(kept[codes])
        if not len(where):
            raise DataError(f"{self.source}: no row has a value of attribute {attribute!r}", column=attribute)
        named = replace(
            self,
            source=f"{self.source}, attribute {attribute!r}",
            labels=codes,
            label_names=names,
            attributes={attribute: self.attributes[attribute]},
            protocol_name=None,
        )
        return named.take(where)

    def take(self, rows: str | NDArray[Any] | list[int], *, dense: bool = True) -> Self:
        """Some rows: a value of the split column, a boolean mask (N,), or positions (any order).

        dense: labels are numbered anew 0..C-1 within these rows; else they keep their codes and names.
        """
        if isinstance(rows, str):
            if self.splits is None:
                raise DataError(f'{self.source} has no split column, so there is no split "{rows}"')
            rows = np.array([split == rows for split in self.splits], dtype=np.bool_)
        where = np.asarray(rows)
        where = np.flatnonzero(where) if where.dtype == np.bool_ else where.astype(np.int64)
        part = self._rows(where)
        return part._with_dense_labels() if dense else part

    def _rows(self, where: NDArray[np.int64]) -> Self:
        return replace(
            self,
            frame=self.frame.iloc[where].reset_index(drop=True),
            paths=[self.paths[i] for i in where],
            images=[self.images[i] for i in where],
            rows=self.rows[where],
            labels=self.labels[where],
            ids=self.ids[where],
            attributes={name: Attribute(codes[where], names) for name, (codes, names) in self.attributes.items()},
            texts=None if self.texts is None else [self.texts[i] for i in where],
            splits=None if self.splits is None else [self.splits[i] for i in where],
            query=None if self.query is None else self.query[where],
            gallery=None if self.gallery is None else self.gallery[where],
            boxes=None if self.boxes is None else self.boxes[where],
            targets=None if self.targets is None else [self.targets[i] for i in where],
            target_images=None if self.target_images is None else [self.target_images[i] for i in where],
        )

    def _with_dense_labels(self) -> Self:
        used = np.unique(self.labels[self.labels >= 0])
        new = np.full(self.num_classes + 1, -1, dtype=np.int64)
        new[used] = np.arange(len(used))
        return replace(self, labels=new[self.labels], label_names=[self.label_names[i] for i in used])


def _size_and_end(path: str) -> str:
    """Enough to notice that a file has changed, without reading it; "" when it is not there."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - 64))
            return f"{size} {file.read().hex()}"
    except OSError:
        return ""


def _feed(digest: Any, column: Any) -> None:
    """Adds a column to a digest so that no two different columns give the same bytes."""
    for cell in [column] if column is None else column:
        text = str(cell).encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "little") + text)
    digest.update(b"\xff column")


def read_table(
    source: str | Path | pd.DataFrame,
    config: DataConfig | Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    need_label: bool = True,
) -> Table:
    """Reads and validates a table: a CSV, TSV or Parquet path, "atelier:products=300,views=4,seed=0", or a DataFrame.

    config: what the columns mean (a DataConfig or a mapping of its fields). split: only these rows: "train",
    "validation" or "test" as config spells them, or any other value of the split column; None: all rows.
    need_label: whether every row must have one; without, rows may have label -1.
    Labels are numbered 0..C-1 within the rows that are returned. Everything wrong with the table is told in one
    DataError: missing columns, empty or float labels, files that are not there, duplicates, an empty split. What the
    files contain is the work of `check_table`.
    """
    chosen = config if isinstance(config, DataConfig) else DataConfig.model_validate(dict(config or {}))
    opened = open_source(source, chosen)
    return _table(opened, opened.rows_of(split), need_label, split)


def _table(opened: TableSource, rows: NDArray[np.int64], need_label: bool, split: str | None) -> Table:
    label_cells = opened.labels(rows, need_label)
    images, paths = opened.pictures(rows)
    targets = opened.targets(rows)
    boxes = opened.boxes(rows)
    opened.refuse_duplicates(rows, images, boxes)
    attributes = {name: Attribute(*column) for name, column in opened.attributes(rows).items()}
    texts, ids = opened.texts(rows), opened.ids(rows)
    query, gallery = opened.flags("is_query", rows), opened.flags("is_gallery", rows)
    opened.problems.raise_if_any()
    labels, label_names = codes_of(label_cells)
    return Table(
        frame=opened.frame.iloc[rows].reset_index(drop=True),
        source=opened.name if split is None else f'{opened.name}, split "{split}"',
        paths=paths,
        images=images,
        rows=rows,
        labels=labels,
        label_names=label_names,
        ids=ids,
        attributes=attributes,
        texts=texts,
        splits=opened.splits(rows),
        query=query,
        gallery=gallery,
        boxes=boxes,
        protocol_name=opened.protocol_name,
        targets=None if targets is None else targets[1],
        target_images=None if targets is None else targets[0],
    )

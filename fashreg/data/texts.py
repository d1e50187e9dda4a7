"""The texts of a table, which then needs no pictures: questions in words, row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashreg.config_data import DataConfig
from fashreg.data.columns import examples
from fashreg.data.opening import open_source
from fashreg.errors import DataError


@dataclass(frozen=True, eq=False)
class TextRows:
    """texts: N, none of them empty. ids: (N,) int64, of the id column, else row numbers. source: what was read."""

    texts: list[str]
    ids: NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over ids and texts."""
        digest = hashlib.sha256(b"fashreg texts 1")
        for number, text in zip(self.ids.tolist(), self.texts, strict=True):
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d %d " % (number, len(raw)) + raw)
        return digest.hexdigest()


def read_texts(source: str | Path | pd.DataFrame, config: DataConfig, *, split: str | None = None) -> TextRows:
    """The text column of a table, and its ids. DataError, as of `read_table`, for both and for rows without a text."""
    opened = open_source(source, config)
    rows = opened.rows_of(split)
    texts, ids = opened.texts(rows), opened.ids(rows)
    opened.problems.raise_if_any()
    return TextRows(texts_of_rows(opened.name, rows, texts), ids, opened.name)


def texts_of_rows(source: str, rows: NDArray[np.int64], texts: Sequence[str] | None) -> list[str]:
    """The texts of the rows of a table; DataError without a text column, and for rows without a text."""
    if texts is None:
        raise DataError(f"{source}: no texts; name their column: --text-column NAME (data.text)")
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        raise DataError(f"{source}: no text in {examples(rows[empty])}. Fill them, or leave these rows out")
    return list(texts)

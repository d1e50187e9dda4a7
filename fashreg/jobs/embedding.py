"""Writing embeddings to one safetensors file: of the pictures of a table, of its texts, of both, or of texts alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.config import read_data
from fashreg.config_data import DataConfig
from fashreg.config_tasks import data_of
from fashreg.data.table import Table
from fashreg.data.texts import TextRows, read_texts, texts_of_rows
from fashreg.encoder import Encoder
from fashreg.encoder.questions import Question, kinds_of, paired, task_for
from fashreg.errors import DataError
from fashreg.jobs.index_model import stamped, task_of
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.strict_tensors import write_tensors

#: What of each row is embedded.
Of = Literal["pictures", "texts", "both"]
_MOST_BYTES = 1 << 20  # of texts that were typed, which stand in the file


def embed_table(
    model: Model,
    table: Any,
    out: str | Path,
    *,
    texts: Sequence[str] = (),
    of: Of | None = None,
    text_column: str | None = None,
    split: str | None = None,
    task: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> str:
    """Write vectors (N, D) float32 and ids (N,) int64, rows in the table's order; gives back one line that says so.

    of: each row's picture (default), its text, or both together ("but in red"); for texts alone the table needs no
    pictures. text_column: where the texts are (default: as the model's table had them). texts: words in place of a
    column: beside a table each picture is taken together with its text, one for all, or one each; with table=None they
    are embedded alone, with ids 0..N-1. task: None is the only one that answers such a question.
    The file's metadata holds the fingerprints of model, table and task, `of`, and texts that are no column's. It
    appears whole or not at all.
    """
    encoder, trained = open_model(model)
    question = _question(of, table is not None, texts, text_column)
    named = _task(encoder, question, task)
    rows: Table | TextRows | None = None
    if table is not None:
        options = options if text_column is None else [*options, f"text={text_column}"]
        own = trained.tasks.get(named or "") if question != "pictures" else None
        data = trained.data if own is None or trained.data is None else data_of(trained.data, own)
        rows = _rows(table, question, data, split, options)
    said, ids = _texts(question, rows, texts), np.arange(len(texts)) if rows is None else rows.ids
    pictures = rows if isinstance(rows, Table) and question != "texts" else None
    if pictures is not None and said is not None and len(said) != len(ids):
        ids = np.repeat(ids, len(said))  # one picture, with each of several texts
    vectors = encoder.embed(pictures, texts=said, batch_size=batch_size, task=named, progress=progress)
    made_by = {name: text or "" for name, text in stamped(encoder, named).items()}
    metadata = {"model": encoder.fingerprint(), **made_by, "of": question}
    metadata |= {} if rows is None else {"table": rows.fingerprint}
    metadata |= {"texts": _as_json(texts)} if texts else {}
    _write(Path(out), vectors, ids, metadata)
    return f"{out}: vectors {tuple(vectors.shape)} and ids ({len(ids)},)"


def _question(of: Of | None, table: bool, texts: Sequence[str], column: str | None) -> Question:
    """What is embedded; DataError for what does not go together."""
    if texts:
        wanted: Of = "both" if table else "texts"
        if column is not None or of not in (None, wanted):
            beside = f"--text-column {column}" if column is not None else f"--of {of}"
            what = "each picture of the table with a text" if table else "the texts alone"
            raise DataError(f"--text WORDS embeds {what}, and {beside} says something else: leave one out")
        return wanted
    if not table:
        raise DataError("nothing to embed: give --table FILE, --text WORDS, or both")
    if column is not None and of in (None, "pictures"):
        raise DataError(
            f"--text-column {column}: say what to embed, --of texts, or --of both (each picture with its text)"
        )
    return of or "pictures"


def _task(encoder: Encoder, question: Question, task: str | None) -> str | None:
    """The task whose vectors these are; ModelError where the model, or that task, cannot be asked so."""
    if question == "pictures":
        return task_of(encoder, task)
    named = task_for(encoder, question, task)
    return named if kinds_of(encoder) else task_of(encoder, named)


def _rows(
    table: Any, question: Question, trained: DataConfig | None, split: str | None, options: Sequence[str]
) -> Table | TextRows:
    if question == "texts" and not isinstance(table, Table):
        path = str(table) if isinstance(table, str | Path) else None
        return read_texts(path if path is not None else table, read_data(path, options, like=trained), split=split)
    return open_table(table, trained, split=split, options=options, need_label=False)[0]


def _texts(question: Question, rows: Table | TextRows | None, texts: Sequence[str]) -> list[str] | None:
    """The texts to embed, one for each row; DataError for empty ones, and where there are too many or too few."""
    if question == "pictures":
        return None
    if not texts:
        assert rows is not None
        return rows.texts if isinstance(rows, TextRows) else texts_of_rows(rows.source, rows.rows, rows.texts)
    if not all(text.strip() for text in texts):
        raise DataError("a text to embed is empty")
    try:
        return list(texts) if rows is None else paired(len(rows), texts)
    except ValueError as error:
        raise DataError(str(error)) from None


def _as_json(texts: Sequence[str]) -> str:
    found = json.dumps(list(texts), ensure_ascii=False)
    if len(found.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
        raise DataError(f"more than {_MOST_BYTES:,} bytes of texts: put them into a table, --table FILE --of texts")
    return found


def _write(path: Path, vectors: Tensor, ids: NDArray[np.int64], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_tensors(temporary, {"vectors": vectors, "ids": torch.from_numpy(ids)}, metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

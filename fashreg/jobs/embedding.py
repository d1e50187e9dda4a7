"""Writing the embeddings of a table to one safetensors file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fashreg.jobs.index_model import stamped, task_of
from fashreg.jobs.opening import Model, open_model, open_table
from fashreg.strict_tensors import write_tensors


def embed_table(
    model: Model,
    table: Any,
    out: str | Path,
    *,
    split: str | None = None,
    task: str | None = None,
    batch_size: int = 64,
    options: Sequence[str] = (),
    progress: bool = True,
) -> str:
    """Write vectors (N, D) float32 and ids (N,) int64, rows in the table's order; gives back one line that says so.

    The file's metadata holds the fingerprints of model, table and task. It appears whole or not at all.
    """
    encoder, trained = open_model(model)
    named = task_of(encoder, task)
    rows, _ = open_table(table, trained.data, split=split, options=options, need_label=False)
    vectors = encoder.embed(rows, batch_size=batch_size, task=named, progress=progress)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made_by = {name: text or "" for name, text in stamped(encoder, named).items()}
    metadata = {"model": encoder.fingerprint(), "table": rows.fingerprint, **made_by}
    try:
        write_tensors(temporary, {"vectors": vectors, "ids": torch.from_numpy(rows.ids)}, metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return f"{path}: vectors {tuple(vectors.shape)} and ids ({len(rows)},)"

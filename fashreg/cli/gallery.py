"""`fashreg embed`: the vectors of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fashreg.cli.options import Batch, Model, SetOption, Split, TableOption, Task


def embed(
    model: Model,
    table: TableOption,
    out: Annotated[Path, typer.Option(help="File to write, e.g. vectors.safetensors.")],
    split: Split = None,
    task: Task = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Write the embedding of every picture: vectors (N, D) and ids (N,) as safetensors, rows in the table's order."""
    from fashreg.jobs.embedding import embed_table

    print(embed_table(model, table, out, split=split, task=task, batch_size=batch_size, options=set_ or ()))

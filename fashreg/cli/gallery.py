"""`fashreg embed`: the vectors of a table, or of texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fashreg.cli.options import Batch, Model, SetOption, Split, Task


class Of(StrEnum):
    """What of each row is embedded."""

    pictures = "pictures"
    texts = "texts"
    both = "both"


def embed(
    model: Model,
    out: Annotated[Path, typer.Option(help="File to write, e.g. vectors.safetensors.")],
    table: Annotated[
        str | None, typer.Option(help="CSV, TSV or Parquet, a row each; for --of texts it needs no pictures.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Words to embed (repeatable); beside --table: each picture together with them, or each."),
    ] = None,
    of: Annotated[
        Of | None, typer.Option(help="Of each row its picture (default), its text, or both together.")
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column with the texts (data.text); default: as the model was trained.")
    ] = None,
    split: Split = None,
    task: Task = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Write embeddings: vectors (N, D) and ids (N,) as safetensors, rows in the table's order.

    Of pictures; with a model that knows texts also of texts, and of pictures each with its text.
    """
    from fashreg.jobs.embedding import embed_table

    asked = {"texts": text or (), "of": None if of is None else of.value, "text_column": text_column}
    how = {"split": split, "task": task, "batch_size": batch_size, "options": set_ or ()}
    print(embed_table(model, table, out, **asked, **how))  # type: ignore[arg-type]

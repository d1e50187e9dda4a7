"""`fashreg embed`, `index build`, `search`: what a person does with a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fashreg.cli.options import AsJson, Batch, Model, SetOption, Split, TableOption, Task, component

index_app = typer.Typer(help="Build a searchable gallery.", no_args_is_help=True)


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


@index_app.command("build")
def index_build(
    model: Model,
    table: TableOption,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    kind: Annotated[str, typer.Option("--index", help="Registered index, e.g. exact, or faiss.")] = "exact",
    split: Split = None,
    task: Task = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Embed a table and make it searchable."""
    from fashreg.jobs.indexing import build_index

    gallery = build_index(
        model, table, out, index=kind, split=split, task=task, batch_size=batch_size, options=set_ or ()
    )
    print(f"{len(gallery)} pictures indexed in {out}; next: fashreg search {out} --image FILE")


def search(
    folder: Annotated[Path, typer.Argument(help="Index folder.")],
    image: Annotated[
        list[Path] | None, typer.Option(help="Query picture (repeatable); default: four of the gallery, as examples.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")] = 10,
    model: Annotated[
        str | None, typer.Option(help="Model folder, when it has moved since the index was built.")
    ] = None,
    reranker: Annotated[
        list[str] | None,
        typer.Option(help="Registered reranker, or '{name: NAME, ...}' (repeatable); default: none."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw queries and hits into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest pictures; larger score = nearer. A picture of the gallery leaves itself out."""
    from fashreg.jobs.indexing import load_index

    gallery = load_index(folder, model=model)
    queries = image or gallery.examples(4)
    answers = gallery.search(queries, k=k, rerank=[component(text) for text in reranker or ()])
    if sheet is not None:
        from fashreg.jobs.sheet import write_sheet

        write_sheet(sheet, queries, answers, labels=[gallery.label_of(path) for path in queries])
    if as_json:
        print(json.dumps([{"query": str(q), "hits": hits} for q, hits in zip(queries, answers, strict=True)], indent=1))
        return
    for query, hits in zip(queries, answers, strict=True):
        print(query)
        for rank, hit in enumerate(hits, start=1):
            print(f"  {rank:>3}  {hit['score']:.4f}  {hit.get('label', '')}  {hit['image']}")

"""`fashreg report`: one HTML file of a run or an evaluation."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Map(StrEnum):
    """How the embedding map is made."""

    pca = "pca"
    tsne = "tsne"
    umap = "umap"


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder, or what `fashreg evaluate --out` wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: RUN/report.html, or EVALUATION.html beside the folder.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder: embed the pictures again where their vectors were not kept.")
    ] = None,
    map_: Annotated[Map, typer.Option("--map", help="Embedding map: tsne needs fashreg[report].")] = Map.pca,
) -> None:
    """Write one self-contained HTML page: metrics, curves, classes, queries, suspects, map, settings."""
    from fashreg.report.writing import default_place, write_report

    path = write_report(folder, out or default_place(folder), model=model, method=map_.value)
    size = path.stat().st_size
    print(f"{path}: {f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.0f} kB'}, one file")

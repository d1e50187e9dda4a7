"""`fashreg data`: check a table, draw the embedded Atelier set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Check a table, or draw the embedded Atelier set.", no_args_is_help=True)


@data_app.command()
def check(
    table: Annotated[str, typer.Argument(help="CSV, TSV or Parquet with one row per picture, or atelier:...")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="How to read it: --set label=style (fields of data).")
    ] = None,
) -> None:
    """Validate a whole table and its pictures; every bad row is counted, the first are named."""
    from fashreg.config import read_data
    from fashreg.data.table import check_table, read_table

    config = read_data(table, set_ or ())
    print(check_table(read_table(config.table, config, need_label=False)))


@data_app.command()
def atelier(
    out: Annotated[Path, typer.Option(help="Folder to draw into.")],
    products: Annotated[int, typer.Option(min=12, help="Number of products.")] = 500,
    views: Annotated[int, typer.Option(min=1, help="Pictures per product.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another set.")] = 0,
    size: Annotated[int, typer.Option(min=32, help="Side of a picture in pixels.")] = 160,
) -> None:
    """Draw the Atelier set: garments with attributes, titles, captions and edits. The same for one seed anywhere."""
    from fashreg.data.atelier import draw_atelier

    print(draw_atelier(out, products=products, views=views, seed=seed, size=size))

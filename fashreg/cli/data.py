"""`fashreg data`: check a table, draw the embedded Atelier set, turn official benchmarks into tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(
    help="Check a table, draw the embedded Atelier set, or convert an official benchmark.", no_args_is_help=True
)


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
    found = read_table(config.table, config, need_label=False)
    unlabelled = config.label == "label" and "label" not in found.frame.columns
    print(check_table(found, classes=0 if unlabelled else 1))
    if unlabelled:
        print('note: labels were not looked at, there is no column "label"; name one: --set label=COLUMN')


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


@data_app.command()
def layouts(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the official benchmark layouts that `data convert` reads, and what their folders must hold."""
    from fashreg.data.layouts import LAYOUTS

    fields = ("name", "title", "needs", "evaluate", "note", "source")
    if as_json:
        print(
            json.dumps([{field: getattr(layout, field) for field in fields} for layout in LAYOUTS.values()], indent=1)
        )
        return
    for layout in LAYOUTS.values():
        print(f"{layout.name}\n  {layout.title}\n  holds: {', '.join(layout.needs)}")


@data_app.command()
def convert(
    name: Annotated[str, typer.Argument(help="Layout, as `fashreg data layouts` lists them.")],
    root: Annotated[Path, typer.Argument(help="The benchmark's folder, as its authors distribute it, unpacked.")],
    out: Annotated[Path, typer.Option(help="Table to write: .parquet, .csv or .tsv.")],
) -> None:
    """Turn an official benchmark into a table that names its protocol."""
    from fashreg.data import layouts as room

    layout = room.layout_of(name)
    frame = room.convert(name, root, out)
    splits = ", ".join(f"{count:,} {split}" for split, count in frame["split"].value_counts(sort=False).items())
    print(f"{out}: {len(frame):,} rows ({splits})")
    if "is_query" in frame.columns:
        print(f"{int(frame['is_query'].sum()):,} rows ask, {int(frame['is_gallery'].sum()):,} are searched")
    print(layout.note)
    print(f"next: fashreg evaluate MODEL --table {out} {room.options_for(layout, frame)}")

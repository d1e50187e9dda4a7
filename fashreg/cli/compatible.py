"""`fashreg compatible`: what an old gallery is worth to a new model."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fashreg.cli.options import AsJson, Batch, SetOption, Split, TableOption
from fashreg.errors import shown

_WHERE = "model folder, e.g. runs/a/model; or user/name@REV on the Hub."


def compatible(
    old: Annotated[str, typer.Argument(help=f"The model that made the gallery: {_WHERE}")],
    new: Annotated[str, typer.Argument(help=f"The model that is to ask it: {_WHERE}")],
    table: TableOption,
    task: Annotated[
        list[str] | None, typer.Option(help="Task or attribute (repeatable); default: all that both models serve.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Ask with pictures alone also where a task is asked with texts.")
    ] = False,
    split: Split = None,
    label: Annotated[
        str | None, typer.Option(help="Column that judges; default: that of the task's name, else the labels.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Column (camera, shop, shoot): pictures of the query's own source neither answer nor count."),
    ] = None,
    resample: Annotated[
        str | None,
        typer.Option(help="Column (product): intervals over its groups, drawn whole; default: over single queries."),
    ] = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
    as_json: AsJson = False,
) -> None:
    """Must the gallery be embedded again? New queries against the old gallery, beside old/old and new/new."""
    from fashreg.jobs.compatibility import compatibility

    found = compatibility(
        old,
        new,
        table,
        task=task,
        pictures=pictures,
        split=split,
        label=label,
        source=source,
        resample=resample,
        batch_size=batch_size,
        options=set_ or (),
    )
    print(json.dumps(found.as_dict(), indent=1) if as_json else shown(found.summary(), longest=2**20))

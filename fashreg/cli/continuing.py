"""`fashreg continue`: add an attribute or a task to a model that is trained, and keep what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fashreg.cli.options import AsJson


def continue_(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN|MODEL|USER/NAME", help="Run folder, model folder, or user/name@REV on the Hub."),
    ],
    table: Annotated[
        str | None, typer.Option("--table", help="CSV, TSV or Parquet with the new attribute, or of the new task.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add-attribute", help="Column to learn (repeatable: one after the other).")
    ] = None,
    add_task: Annotated[
        list[str] | None,
        typer.Option(
            "--add-task",
            help="Task to learn (repeatable: together); --set tasks.NAME.kind=..., --set tasks.NAME.data.text=...",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make, e.g. runs/b.")] = None,
    train_encoder: Annotated[
        bool,
        typer.Option(
            "--train-encoder/--keep-old",
            help="Let the encoder learn on, too: what it knew moves; or keep it to the bit.",
        ),
    ] = False,
    recipe: Annotated[
        str | None, typer.Option(help="How to learn, instead of the recipe that is kept with the model.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field: --set trainer.epochs=5 (repeatable).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything; print; train nothing.")] = False,
    report: Annotated[bool, typer.Option(help="Write OUT/report.html at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Add an attribute or a task to a trained model: what the model knew stays, to the bit, and is checked."""
    from fashreg.cli.train import finish
    from fashreg.errors import RecipeError
    from fashreg.jobs.continuing import continue_training, plan_continuing

    how: dict[str, Any] = {"add": add or (), "add_task": add_task or (), "table": table, "train_encoder": train_encoder}
    how |= {"recipe": recipe, "overrides": set_ or ()}
    if dry_run:
        print(plan_continuing(source, **how).describe())
        return
    if out is None:
        raise RecipeError("fashreg continue needs a run folder: add --out runs/NAME (or --dry-run to only check)")
    finish(lambda: continue_training(source, **how, out=out, resume=resume), out, report=report, as_json=as_json)

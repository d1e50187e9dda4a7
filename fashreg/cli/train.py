"""`fashreg train`: from a recipe to a run folder with a model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fashreg.jobs.training import TrainedRun


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped recipe's name (`fashreg recipes`).")],
    out: Annotated[Path | None, typer.Option(help="Run folder to make, e.g. runs/a.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field: --set trainer.lr=3e-4 (repeatable).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe, data and parts; print; train nothing.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write RUN/report.html at the end.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON at the end.")] = False,
) -> None:
    """Train a model: checks everything first, then writes the run folder (model, metrics, checkpoints, report)."""
    from fashreg.config import read_recipe
    from fashreg.errors import RecipeError

    read = read_recipe(recipe, set_ or ())  # before torch comes: most mistakes are told at once
    if out is None and not dry_run:
        raise RecipeError("fashreg train needs a run folder: add --out runs/NAME (or --dry-run to only check)")
    from fashreg.jobs import training

    if dry_run or out is None:
        print(training.check(read).describe())
        return
    finish(lambda: training.train(read, out=out, resume=resume), out, report=report, as_json=as_json)


def finish(start: Callable[[], TrainedRun], out: Path, *, report: bool, as_json: bool) -> None:
    """Run a training to its end, write its page, and say what came of it; an interruption ends with its own status."""
    from fashreg.training.interruption import Interrupted

    try:
        run = start()
    except Interrupted as stop:  # here, because typer turns every KeyboardInterrupt into a bare status
        print(stop, file=sys.stderr)
        raise typer.Exit(128 + stop.signal_number) from None
    page = report_of(out) if report and os.environ.get("RANK", "0") == "0" else None
    if as_json:
        print(json.dumps(run.as_dict(), indent=1))
    else:
        print(run.summary() + (f"\nreport: {page}" if page else ""))


def report_of(run: Path) -> Path | None:
    """The page of a run that is complete and safe on disk: whatever goes wrong with the page is only told."""
    from fashreg.report.writing import default_place, write_report

    try:
        return write_report(run, default_place(run))
    except Exception as error:  # a page must never make a training look failed
        again = f"fashreg report {run}"
        print(f"note: no report was written ({type(error).__name__}: {error}); again: {again}", file=sys.stderr)
        return None

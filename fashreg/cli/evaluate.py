"""`fashreg evaluate` and `compare`: how good a model is, how sure that is, and whether another one is better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fashreg.cli.options import AsJson, Batch, Model, SetOption, Split, TableOption, Task, component
from fashreg.errors import shown


def evaluate(
    model: Model,
    table: TableOption,
    split: Split = None,
    label: Annotated[
        str | None, typer.Option(help="Label column; default: the one the model was trained with.")
    ] = None,
    evaluator: Annotated[
        list[str] | None,
        typer.Option(help="Registered evaluator, or '{name: NAME, ...}' (repeatable); default: those of its training."),
    ] = None,
    reranker: Annotated[
        list[str] | None,
        typer.Option(help="Registered reranker, or '{name: NAME, ...}' (repeatable); default: those of its training."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Column (camera, shop, shoot): pictures of the query's own source neither answer nor count."),
    ] = None,
    slice_: Annotated[
        list[str] | None, typer.Option("--slice", help="Column to report by, value for value (repeatable).")
    ] = None,
    resample: Annotated[
        str | None,
        typer.Option(help="Column (product): intervals over its groups, drawn whole; default: over single queries."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write: numbers, queries, neighbours; for compare and report.")
    ] = None,
    task: Task = None,
    beams: Annotated[
        int, typer.Option(min=1, help="Captions followed at the same time, where captions are judged.")
    ] = 1,
    batch_size: Batch = 64,
    set_: SetOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model, with 95 % intervals: leave-one-out, queries against gallery where the table flags them, or what
    the evaluator judges: texts and pictures, pictures with texts, classes, captions.
    """
    from fashreg.jobs.evaluation import evaluate as run
    from fashreg.jobs.evaluation_folder import check_writable, save_evaluation

    if out is not None:
        check_writable(out)
    result = run(
        model,
        table,
        split=split,
        label=label,
        task=task,
        evaluators=[component(text) for text in evaluator] if evaluator else None,
        rerankers=[component(text) for text in reranker] if reranker else None,
        source=source,
        slices=slice_ or (),
        resample=resample,
        beams=beams,
        batch_size=batch_size,
        options=set_ or (),
    )
    if out is not None:
        save_evaluation(result, out)
    print(json.dumps(result.as_dict(), indent=1) if as_json else result.summary())
    if out is not None and not as_json:
        print(f"evaluation: {out}")


def compare(
    a: Annotated[
        str, typer.Argument(help="Evaluation, run folder, folder of runs, user/name@REV, or several: A1,A2,A3.")
    ],
    b: Annotated[str, typer.Argument(help="The same for the other side.")],
    task: Annotated[
        str | None, typer.Option(help="Task to compare, of runs and models that were measured task by task.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with what lies behind the difference.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two results by one protocol: paired test over queries, and spread where a side has several trainings."""
    from fashreg.jobs.comparison import compare as run

    found = run(a, b, task=task)
    if html is not None:
        from fashreg.report.comparing import write_comparison

        write_comparison(found, html)
    print(json.dumps(found.as_dict(), indent=1) if as_json else shown(found.summary(), longest=2**20))

"""Training from a recipe: check everything, build the parts, learn, measure before and after, keep the model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fashreg import registry
from fashreg.config import Recipe, read_recipe
from fashreg.data.table import Table
from fashreg.errors import FashregError
from fashreg.jobs.card import write_card
from fashreg.jobs.evaluation import Asking, evaluate_table
from fashreg.jobs.evaluation_folder import KIND as EVALUATION
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.own_parts import check_storable
from fashreg.jobs.parts import Parts, assemble
from fashreg.jobs.settling import settled
from fashreg.jobs.stream import Stream
from fashreg.jobs.stream_check import stream_judge
from fashreg.jobs.stream_judging import Judge, final_evaluation
from fashreg.jobs.stream_record import StreamRecord
from fashreg.jobs.stream_result import joined_report
from fashreg.jobs.tables import Tables, read_tables
from fashreg.jobs.task_parts import cut_texts
from fashreg.jobs.task_runs import earlier_tasks, measured_tasks, save_tasks
from fashreg.jobs.training_result import Plan, TrainedRun
from fashreg.strict_json import write_json
from fashreg.training.allocator import keep_freed_memory
from fashreg.training.run_folder import RunFolder, open_run

__all__ = ["Plan", "TrainedRun", "check", "run_training", "train"]

RESULTS = "results.json"


def check(recipe: Any, *, table: Any = None, **parts: Any) -> Plan:
    """Everything that training does before its first step. Raises what it would raise."""
    read, objects = _resolve(recipe, table, parts)
    with registry.only(read.plugins):
        read = settled(read, objects)
        tables = read_tables(read, None if isinstance(table, str | Path) else table)
        built = assemble(read, tables, objects)
        if read.stream is not None:
            stream_judge(read, tables, built, objects)
        return Plan(read, tables, built)


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    *,
    out: str | Path | None = None,
    table: Any = None,
    label: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    **parts: Any,
) -> TrainedRun:
    """Train an encoder.

    recipe: a file, a shipped recipe's name, a mapping or a Recipe; None: the defaults, with `backbone=` given.
    out: the run folder (recipe, log, checkpoints, model, results, evaluation); None writes nothing.
    table: instead of the recipe's: a path, DataFrame, or "atelier:..." text. label: its label column.
    parts: other recipe fields. backbone, head, loss, memory, sampler, learner, index take a name, a mapping
    {name, **options}, a class, or a ready object, evaluators and rerankers lists of those; trainer and data take
    mappings, whose fields are laid over the recipe's; seed a number.
    resume: go on in `out` after an interruption, bit for bit on a CPU.
    """
    read, objects = _resolve(recipe, table, {**parts, **({"label": label} if label is not None else {})})
    with registry.only(read.plugins):
        read = settled(read, objects)
        tables = read_tables(read, None if isinstance(table, str | Path) else table)
        built = assemble(read, tables, objects)
        document = {**read.model_dump(mode="json"), **built.replaced}
        judge = None if read.stream is None else stream_judge(read, tables, built, objects)
        if out is not None:
            check_storable(built.encoder)
        if out is None:
            return run_training(read, tables, built, document, None, quiet=quiet, judge=judge)
        with open_run(out, recipe=document, resume=resume) as folder:
            return run_training(read, tables, built, document, folder, quiet=quiet, judge=judge)


def run_training(
    recipe: Recipe,
    tables: Tables,
    parts: Parts,
    document: Mapping[str, Any],
    folder: RunFolder | None,
    *,
    quiet: bool = False,
    judge: Judge | None = None,
    bound: Callable[[Any], None] | None = None,
    earlier: StreamRecord | None = None,
) -> TrainedRun:
    """Train with parts that are built, and measure. judge: of a stream. bound: told of the learner once it is bound.
    earlier: what the run that is learned on from measured.
    """
    keep_freed_memory(recipe.trainer.keep_freed_memory)
    session = parts.session(recipe, document, folder, quiet=quiet)
    judged, split = tables.judged(recipe.data)
    speaks = session.processes.first
    path = None if folder is None else folder.path / RESULTS
    if speaks and not quiet:
        for warning in (*tables.warnings, *cut_texts(tables.tasks, parts.encoder.backbone)):
            print(f"note: {warning}", flush=True)
    before = stream = None
    first = earlier_tasks(path) or (measured_tasks(parts, tables.tasks, details=False) if speaks else {})
    if judge is None and not tables.tasks:  # before a stream there is no head that could answer
        before = _earlier(path) or (_measure(recipe, parts, judged, split, details=False) if speaks else None)
    if path is not None and speaks and (before is not None or first):
        begun = {} if before is None else {"before": before.as_dict()}
        write_json(path, {**begun, "tasks_before": {task: found.as_dict() for task, found in first.items()}})
    learner = parts.learner.bind(session)
    if bound is not None:
        bound(learner)
    if judge is None:
        report = learner.learn(tables.experiences[0])
        after = _measure(recipe, parts, judged, split) if speaks and not tables.tasks else None
    else:
        stream = Stream(session, learner, tables.experiences, judge, split, earlier).learn()
        report = joined_report(stream.reports)
        after = final_evaluation(recipe, parts, judge, split) if speaks else None
    tasks = measured_tasks(parts, tables.tasks) if speaks else {}
    session.processes.end_trackers()
    where = None if folder is None else folder.path
    run = TrainedRun(parts.encoder, report, before, after, where, stream, tasks, first)
    if path is not None and speaks:
        write_json(path, run.as_dict())
        if after is not None:
            save_evaluation(after, path.parent / EVALUATION)
        save_tasks(tasks, path.parent)
        if after is not None or tasks:
            _renew_card(path.parent, after)
    return run


def _renew_card(folder: Path, measured: Evaluation | None) -> None:
    """Put what was measured at the end into the model's card; a card must never make a training look failed."""
    try:
        write_card(folder, evaluation=measured)
    except (FashregError, OSError) as error:
        again = f"fashreg card {folder} --write"
        print(f"note: the model's card does not tell the last evaluation ({error}); again: {again}", file=sys.stderr)


def _measure(
    recipe: Recipe, parts: Parts, table: Table | None, split: str, *, details: bool = True
) -> Evaluation | None:
    if table is None:
        return None
    asking = Asking(split=split, rerankers=parts.rerankers, details=details)
    return evaluate_table(parts.encoder, table, parts.evaluators, config=recipe.data, asking=asking)


def _earlier(path: Path | None) -> Evaluation | None:
    """What an interrupted run measured before its first step."""
    if path is None or not path.is_file():
        return None
    before = json.loads(path.read_text(encoding="utf-8")).get("before")
    return None if before is None else Evaluation.from_dict(before)


def _resolve(recipe: Any, table: Any, given: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with names and mappings written into it, and the ready objects and classes kept apart."""
    given = dict(given)
    label = given.pop("label", None)
    objects = {f: v for f, v in given.items() if not _is_written(v)}
    document = read_recipe(recipe).model_dump(mode="python", exclude_unset=True) if recipe is not None else {}
    written = {field: value for field, value in given.items() if field not in objects}
    for section in ("trainer", "data"):  # laid over the recipe's, as `--set trainer.epochs=2` is
        if isinstance(written.get(section), Mapping):
            written[section] = {**(document.get(section) or {}), **written[section]}
    document.update(written)
    for field in objects:
        document.setdefault(field, ["given"] if field in ("evaluators", "rerankers") else {"name": "given"})
    data = dict(document.get("data") or {})
    if table is not None:
        data.pop("root", None) if isinstance(table, str | Path) else None
        data["table"] = str(table) if isinstance(table, str | Path) else "DataFrame"
    if label is not None:
        data["label"] = label
    document["data"] = data
    return read_recipe(document), objects


def _is_written(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_written(item) for item in value)
    return value is None or isinstance(value, str | Mapping | int | float)

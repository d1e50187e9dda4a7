"""Training from a recipe: check everything, build the parts, learn, measure before and after, keep the model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashreg import registry
from fashreg.config import Recipe, read_recipe
from fashreg.data.table import Table
from fashreg.encoder import Encoder
from fashreg.errors import FashregError
from fashreg.jobs.card import write_card
from fashreg.jobs.evaluation import Asking, evaluate_table
from fashreg.jobs.evaluation_folder import KIND as EVALUATION
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.jobs.parts import Parts, assemble
from fashreg.jobs.stream import Stream
from fashreg.jobs.stream_check import stream_judge
from fashreg.jobs.stream_judging import Judge, final_evaluation
from fashreg.jobs.stream_record import StreamRecord
from fashreg.jobs.stream_result import StreamResult, joined_report
from fashreg.jobs.tables import Tables, read_tables
from fashreg.strict_json import write_json
from fashreg.training.allocator import keep_freed_memory
from fashreg.training.run_folder import RunFolder, open_run
from fashreg.training.session import LearnReport

RESULTS = "results.json"


@dataclass(frozen=True)
class TrainedRun:
    """What training leaves: the encoder with the weights that were kept, and what was measured.

    before, after: on the test split where the table has one, else on validation; None without either. folder: None when
    nothing was written. stream: what came of each experience of a stream, whose reports `report` adds up; None without.
    """

    encoder: Encoder
    report: LearnReport
    before: Evaluation | None
    after: Evaluation | None
    folder: Path | None
    stream: StreamResult | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "run": None if self.folder is None else str(self.folder),
            "model": None if self.folder is None else str(self.folder / "model"),
            "before": None if self.before is None else self.before.as_dict(),
            "after": None if self.after is None else self.after.as_dict(),
            "training": self.report.as_dict(),
            **({} if self.stream is None else {"stream": self.stream.as_dict()}),
        }

    def summary(self) -> str:
        """A table for a terminal: each metric before and after."""
        report = self.report
        lines = [f"{report.steps} steps in {report.seconds:.0f} s ({report.images_per_second:.0f} images/s)"]
        if self.before is not None and self.after is not None:
            lines.append(f"{self.after.protocol.source}: {self.after.protocol.rule}")
            lines.append(f"  {'':<16}{'before':>8}{'after':>8}")
            first = self.before.metrics
            lines += [f"  {n:<16}{first.get(n, float('nan')):>8.4f}{v:>8.4f}" for n, v in self.after.metrics.items()]
        if self.stream is not None:
            lines.append(self.stream.summary())
        if self.folder is not None:
            lines.append(f"model: {self.folder / 'model'}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """A recipe that was checked down to its pictures, with the parts built."""

    recipe: Recipe
    tables: Tables
    parts: Parts

    def describe(self) -> str:
        """What would be trained, for a terminal."""
        tables, parts = self.tables, self.parts
        lines = [f"train: {len(tables.train)} pictures, {tables.train.num_classes} classes"]
        for name, table in (("validation", tables.validation), ("test", tables.test)):
            lines.append(f"{name}: " + (f"{len(table)} pictures, {table.num_classes} classes" if table else "none"))
        counts = {n: sum(p.numel() for p in getattr(parts, n).parameters()) for n in ("encoder", "loss")}
        lines.append(f"encoder: {counts['encoder']:,} parameters, embeddings of {parts.encoder.embed_dim} numbers")
        lines.append(f"loss: {self.recipe.loss.name}, {counts['loss']:,} parameters of its own")
        lines.append(f"batches an epoch: {parts.batches}, epochs: {self.recipe.trainer.epochs}")
        if self.recipe.stream is not None:
            for step in tables.experiences:
                size, values = len(step.train), step.train.num_classes
                lines.append(
                    f"experience {step.name}: {size} pictures, {values} values, {len(parts.sampler_of(step))} batches"
                )
        return "\n".join([*lines, *(f"note: {w}" for w in tables.warnings)])


def check(recipe: Any, *, table: Any = None, **parts: Any) -> Plan:
    """Everything that training does before its first step. Raises what it would raise."""
    read, objects = _resolve(recipe, table, parts)
    with registry.only(read.plugins):
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
        tables = read_tables(read, None if isinstance(table, str | Path) else table)
        built = assemble(read, tables, objects)
        document = {**read.model_dump(mode="json"), **built.replaced}
        judge = None if read.stream is None else stream_judge(read, tables, built, objects)
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
        for warning in tables.warnings:
            print(f"note: {warning}", flush=True)
    before = stream = None
    if judge is None:  # before a stream there is no head that could answer
        before = _earlier(path) or (_measure(recipe, parts, judged, split, details=False) if speaks else None)
    if path is not None and speaks and before is not None:
        write_json(path, {"before": before.as_dict()})
    learner = parts.learner.bind(session)
    if bound is not None:
        bound(learner)
    if judge is None:
        report = learner.learn(tables.experiences[0])
        after = _measure(recipe, parts, judged, split) if speaks else None
    else:
        stream = Stream(session, learner, tables.experiences, judge, split, earlier).learn()
        report = joined_report(stream.reports)
        after = final_evaluation(recipe, parts, judge, split) if speaks else None
    session.processes.end_trackers()
    run = TrainedRun(parts.encoder, report, before, after, None if folder is None else folder.path, stream)
    if path is not None and speaks:
        write_json(path, run.as_dict())
        if after is not None:
            save_evaluation(after, path.parent / EVALUATION)
            _renew_card(path.parent, after)
    return run


def _renew_card(folder: Path, measured: Evaluation) -> None:
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

"""What a report is about: an evaluation folder, or a run folder with its log, recipe and environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fashreg.errors import ModelError
from fashreg.jobs.evaluation_folder import load_evaluation
from fashreg.jobs.evaluation_result import Evaluation, Item
from fashreg.jobs.stream_record import STREAM, StreamRecord, read_record
from fashreg.manifest import MANIFEST
from fashreg.report.tasks import read_tasks
from fashreg.strict_json import parse_json, read_json
from fashreg.strict_yaml import read_yaml
from fashreg.training.run_folder import ENVIRONMENT, METRICS, MODEL, RECIPE

RESULTS, EVALUATION = "results.json", "evaluation"
ABOUT = "evaluation.json"

Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything that was found. Absent parts are None or empty.

    before: the metrics before the first step. steps, checks: lines of the training log. training: what the learner
    reported. model: the run's model folder. stream: what a run over several experiences measured after each. tasks:
    of a run that learned several: what each does, and its metrics before the first step.
    """

    name: str
    folder: Path
    evaluation: Evaluation | None = None
    before: Mapping[str, float] = field(default_factory=dict)
    steps: Sequence[Line] = ()
    checks: Sequence[Line] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None
    stream: StreamRecord | None = None
    tasks: Mapping[str, tuple[Evaluation, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def is_run(self) -> bool:
        """Whether there was a training."""
        return bool(self.recipe or self.steps or self.training)

    def items_by_id(self) -> dict[int, Item]:
        """The rows of the evaluated table, by picture."""
        rows = None if self.evaluation is None else self.evaluation.items
        return {int(row["id"]): row for row in rows or ()}


def read_subject(folder: str | Path) -> Subject:
    """Read a run or evaluation folder, checked throughout. ModelError names what is missing or damaged."""
    path = Path(folder)
    if not path.is_dir():
        raise ModelError(f"no folder {folder}; a report is made of a run (train --out) or of evaluate --out")
    if (path / ABOUT).is_file():
        return _with_run(Subject(_name(path), path, load_evaluation(path)), path.resolve().parent)
    made_by_training = any((path / name).exists() for name in (RECIPE, METRICS, RESULTS, EVALUATION))
    if not made_by_training or (path / MANIFEST).is_file():  # a model keeps its recipe, too, and is no run
        inner = f"; did you mean {path.parent}?" if path.name == MODEL else ""
        raise ModelError(f"{folder} is neither a run folder nor an evaluation folder{inner}")
    found = load_evaluation(path / EVALUATION) if (path / EVALUATION).is_dir() else None
    return _with_run(Subject(_name(path), path, found), path)


def _with_run(subject: Subject, run: Path) -> Subject:
    """The subject with what the run folder holds, when `run` is one and the evaluation is its own."""
    own = subject.folder == run or subject.folder.resolve() == (run / EVALUATION).resolve()
    if not own or not (run / RECIPE).is_file():
        return subject
    lines = _log(run / METRICS)
    results = _object(run / RESULTS)
    before, after = (results.get(key) or {} for key in ("before", "after"))
    return Subject(
        name=_name(run),
        folder=subject.folder,
        evaluation=subject.evaluation if subject.evaluation is not None else _measured(after, run / RESULTS),
        before=before.get("metrics") or {},
        steps=[line for line in lines if line.get("kind") == "train"],
        checks=[line for line in lines if line.get("kind") == "evaluation"],
        training=results.get("training") or {},
        recipe=_recipe(run / RECIPE),
        environment=_object(run / ENVIRONMENT),
        model=run / MODEL if (run / MODEL).is_dir() else None,
        stream=read_record(run / STREAM) if (run / STREAM).is_file() else None,
        tasks=read_tasks(results, run / RESULTS),
    )


def _name(path: Path) -> str:
    whole = path.resolve()
    return f"{whole.parent.name}/{whole.name}" if whole.parent.name else whole.name


def _measured(document: Mapping[str, Any], path: Path) -> Evaluation | None:
    """The numbers in results.json, for a run that kept no evaluation folder."""
    if not document:
        return None
    try:
        return Evaluation.from_dict(document)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold an object")
    return found


def _recipe(path: Path) -> dict[str, Any]:
    try:
        found = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a mapping")
    return found


def _log(path: Path) -> list[Line]:
    """The lines of a training log. The last one may be cut short: the run may still be going, or have been stopped."""
    if not path.is_file():
        return []
    raw = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(raw, start=1):
        if not text:
            continue
        try:
            line = parse_json(text)
        except (ValueError, RecursionError) as error:
            if number == len(raw):
                break
            raise ModelError(f"{path}: line {number} cannot be read: {error}") from error
        if isinstance(line, dict):
            lines.append(line)
    return lines

"""The sides of a comparison: results in memory, in folders, or beside models on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fashreg.errors import HubError, ModelError
from fashreg.hub.address import is_address, parse_address
from fashreg.jobs.evaluation_folder import KIND, load_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.training.run_folder import RECIPE

Given = str | Path | Evaluation
_ABOUT, _OF_TASK = f"{KIND}.json", f"{KIND}-"


@dataclass(frozen=True)
class Compared:
    """One side: a result, or those of several trainings. folders: where they were read: a folder, user/name@COMMIT on
    the Hub, or "" for one in memory.
    """

    name: str
    folders: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def values(self, metric: str) -> list[float]:
        """One number for each training."""
        return [evaluation.metrics[metric] for evaluation in self.evaluations]

    def mean(self, metric: str) -> float:
        """Over trainings."""
        values = self.values(metric)
        return sum(values) / len(values)

    def spread(self, metric: str) -> float | None:
        """Standard deviation over trainings (n - 1), None for a single one."""
        values = torch.tensor(self.values(metric), dtype=torch.float64)
        return float(values.std()) if len(values) > 1 else None

    def per_query(self, metric: str) -> Tensor | None:
        """(Q,) mean over trainings, None where some result does not hold it."""
        columns = [e.per_query.values.get(metric) for e in self.evaluations if e.per_query is not None]
        known = [column for column in columns if column is not None]
        return torch.stack(known).mean(0) if len(known) == len(self.evaluations) else None


def opened(given: Given | Sequence[Given], task: str | None = None) -> Compared:
    """One side of a comparison. A text may name several folders with commas between them, or user/name@REVISION of a
    repository on the Hub that has an evaluation beside its model; only the evaluation is fetched. task: whose, of runs
    and models that were measured task by task.
    """
    if isinstance(given, Evaluation):
        return Compared(given.protocol.source, ("",), (given,))
    if isinstance(given, str | Path):
        folders = [given] if Path(given).exists() else [part for part in str(given).split(",") if part]
        found = [place for folder in folders for place in _places(folder, task)]
        return Compared(
            str(given), tuple(name for name, _ in found), tuple(load_evaluation(place) for _, place in found)
        )
    if not given:
        raise ModelError("name at least one evaluation or run on each side")
    sides = [opened(one, task) for one in given]
    folders_of, evaluations = [side.folders for side in sides], [side.evaluations for side in sides]
    return Compared(", ".join(side.name for side in sides), sum(folders_of, ()), sum(evaluations, ()))


def _places(given: str | Path, task: str | None) -> list[tuple[str, Path]]:
    """Name and folder of each evaluation that is meant; what came from the Hub is named with its commit."""
    if isinstance(given, str) and is_address(given):
        return [_fetched(given, task)]
    return [(str(place), place) for place in _inside(Path(given), task)]


def _fetched(given: str, task: str | None) -> tuple[str, Path]:
    """The evaluation of a repository, or that of one of its tasks."""
    from fashreg.hub.fetch import fetch
    from fashreg.hub.listing import list_places

    address = parse_address(given)
    try:
        found = fetch(address.repo, address.revision, part=KIND if task is None else f"{_OF_TASK}{task}", kind=KIND)
    except HubError as error:
        if error.status != 404:
            raise
        tasks = [place.removeprefix(_OF_TASK) for place in list_places(address) if place.startswith(_OF_TASK)]
        if not tasks:
            raise
        raise ModelError(_which(given, sorted(tasks), task)) from None
    return f"{found.repo}@{found.commit}", found.folder


def _inside(folder: Path, task: str | None) -> list[Path]:
    """The folder, or what in it holds an evaluation: a run's own, the one of its task, or those of all runs in it."""
    if not folder.is_dir() or (folder / _ABOUT).is_file() or (folder / KIND / _ABOUT).is_file():
        return [folder]
    tasks = sorted(p.name.removeprefix(_OF_TASK) for p in folder.glob(f"{_OF_TASK}*") if (p / _ABOUT).is_file())
    if tasks and (task is not None or (folder / RECIPE).is_file()):
        chosen = tasks[0] if task is None and len(tasks) == 1 else task
        if chosen not in tasks:
            raise ModelError(_which(str(folder), tasks, task))
        return [folder / f"{_OF_TASK}{chosen}"]
    inner = [place for p in sorted(folder.iterdir()) if p.is_dir() for place in _of_run(p, task)]
    return inner or [folder]  # the loader says what is wrong with it


def _of_run(folder: Path, task: str | None) -> list[Path]:
    """The evaluation in a folder, where there is one."""
    holds = (folder / _ABOUT).is_file() or (folder / KIND / _ABOUT).is_file()
    return _inside(folder, task) if holds or any(folder.glob(f"{_OF_TASK}*/{_ABOUT}")) else []


def _which(given: str, tasks: Sequence[str], task: str | None) -> str:
    lacks = "" if task is None else f", and not on {task!r}"
    return f"{given} was measured on {', '.join(tasks)}{lacks}: say which to compare, --task {tasks[0]}"

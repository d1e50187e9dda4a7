"""The sides of a comparison: results in memory, in folders, or beside models on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.hub.address import is_address, parse_address
from fashreg.jobs.evaluation_folder import KIND, load_evaluation
from fashreg.jobs.evaluation_result import Evaluation

Given = str | Path | Evaluation


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


def opened(given: Given | Sequence[Given]) -> Compared:
    """One side of a comparison. A text may name several folders with commas between them, or user/name@REVISION of a
    repository on the Hub that has an evaluation beside its model; only the evaluation is fetched.
    """
    if isinstance(given, Evaluation):
        return Compared(given.protocol.source, ("",), (given,))
    if isinstance(given, str | Path):
        folders = [given] if Path(given).exists() else [part for part in str(given).split(",") if part]
        found = [place for folder in folders for place in _places(folder)]
        return Compared(
            str(given), tuple(name for name, _ in found), tuple(load_evaluation(place) for _, place in found)
        )
    if not given:
        raise ModelError("name at least one evaluation or run on each side")
    sides = [opened(one) for one in given]
    folders_of, evaluations = [side.folders for side in sides], [side.evaluations for side in sides]
    return Compared(", ".join(side.name for side in sides), sum(folders_of, ()), sum(evaluations, ()))


def _places(given: str | Path) -> list[tuple[str, Path]]:
    """Name and folder of each evaluation that is meant; what came from the Hub is named with its commit."""
    if isinstance(given, str) and is_address(given):
        from fashreg.hub.fetch import fetch

        address = parse_address(given)
        fetched = fetch(address.repo, address.revision, part=KIND, kind=KIND)
        return [(f"{fetched.repo}@{fetched.commit}", fetched.folder)]
    return [(str(place), place) for place in _inside(Path(given))]


def _inside(folder: Path) -> list[Path]:
    """The folder, or those in it that hold an evaluation when it holds none itself."""
    about = f"{KIND}.json"
    if not folder.is_dir() or (folder / about).is_file() or (folder / KIND / about).is_file():
        return [folder]
    inner = [p for p in sorted(folder.iterdir()) if (p / about).is_file() or (p / KIND / about).is_file()]
    return inner or [folder]  # the loader says what is wrong with it

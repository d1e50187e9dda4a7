"""What a run says while it goes: progress on the terminal, lines in metrics.jsonl, numbers to the trackers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fashreg.errors import RecipeError
from fashreg.training.position import Position
from fashreg.training.progress import Progress
from fashreg.training.session import Session


class RunLog:
    """Averages what the batches say between two lines, and watches that the loss stays a number."""

    def __init__(self, session: Session, name: str, total: int) -> None:
        self.session, self.name = session, name
        self.progress = Progress(total, name, shown=session.processes.first and not session.quiet)
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}
        self._images, self._seconds = 0, 0.0

    def resumed(self, at: Position) -> None:
        """Go on from a position."""
        self._images, self._seconds = at.images, at.seconds
        self.progress.done = at.step

    def note(self, values: Mapping[str, Tensor], at: Position) -> None:
        """Add one batch's values. A loss that is no number ends the run: at once on a CPU, else at the next line."""
        self.add({name: value.detach().float() for name, value in values.items()})
        if values["loss"].device.type == "cpu":
            _check_finite(values["loss"].detach(), at)

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Add named numbers to the means of the next line."""
        for name, value in values.items():
            before = self._sums.get(name)
            self._sums[name] = value if before is None else before + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def line(self, at: Position, lr: float) -> None:
        """The means since the last line, the learning rate and the speed."""
        _check_finite(self._sums["loss"], at)
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        means["lr"] = lr
        images, seconds = at.images - self._images, at.seconds - self._seconds
        if images and seconds > 0.0:
            means["images_per_second"] = images / seconds
        self._images, self._seconds = at.images, at.seconds
        self._sums, self._counts = {}, {}
        shown = {"loss": means["loss"], "images/s": means.get("images_per_second", 0.0)}
        self.progress.step(at.step, shown)
        self._write("train", {"step": at.step, "epoch": at.epoch, **means})
        self.session.processes.track({f"train/{name}": value for name, value in means.items()}, at.step)

    def evaluation(self, at: Position, metrics: Mapping[str, float], best: bool) -> None:
        """An evaluation, and whether it is the best so far."""
        self._write("evaluation", {"step": at.step, "epoch": at.epoch, "metrics": dict(metrics), "best": best})
        self.session.processes.track({f"validation/{name}": value for name, value in metrics.items()}, at.step)
        primary, epochs = self.session.primary, self.session.trainer.epochs
        speed = f"  {at.images / at.seconds:,.0f} images/s" if at.seconds else ""
        self.progress.say(
            f"epoch {at.epoch} of {epochs}  {primary} {metrics[primary]:.4f}{' (best)' if best else ''}{speed}"
        )

    def _write(self, kind: str, line: Mapping[str, Any]) -> None:
        if self.session.folder is not None:
            self.session.folder.log({"kind": kind, "experience": self.name, **line})


def _check_finite(value: Tensor | float, at: Position) -> None:
    if not math.isfinite(value):
        raise RecipeError(
            f"the loss became {float(value)} after {at.step} steps; lower trainer.lr, set trainer.clip_norm, "
            "or use trainer.precision: fp32",
            field="trainer.lr",
        )

"""How far an experience has come: everything of a run that is neither a weight nor a random state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """batch: batches done in `epoch`. step: optimiser steps. seconds: of the steps alone. best, best_step, metrics: of
    the best evaluation so far. waited: evaluations since then. history: all evaluations.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    images: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    stopped_early: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

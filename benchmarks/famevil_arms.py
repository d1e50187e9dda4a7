"""The arms of famevil_real.py, and the table of what they reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study import Numbers

TASKS = {"cross-modal": "XMR", "composed": "TGIR", "classification": "SCR", "captioning": "FIC"}


@dataclass(frozen=True)
class Arm:
    """A row of the table. together: one model of all tasks. changed: options of the learner."""

    name: str
    together: bool
    adapters: bool = True
    across: bool = True
    taught: bool = False
    changed: tuple[tuple[str, Any], ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it can do: captions need the way across."""
        return tuple(task for task in TASKS if self.across or task != "captioning")


STL, STL_XAA = Arm("STL", False, False, False), Arm("STL + XAA", False, False)
BOTH = Arm("MTL + TSA + XAA", True)
TEACHERS = Arm("STL + TSA + XAA", False)
ARMS = (
    STL,
    Arm("STL + TSA", False, True, False),
    STL_XAA,
    TEACHERS,
    Arm("MTL", True, False, False),
    Arm("MTL + TSA", True, True, False),
    Arm("MTL + XAA", True, False),
    BOTH,
    Arm("MTL + TSA + XAA + teachers", True, taught=True),
)
MORE = (
    Arm("... with teachers, uniform", True, taught=True, changed=(("schedule", "uniform"),)),
    Arm("... with teachers, round-robin", True, taught=True, changed=(("schedule", "round-robin"),)),
    Arm("... without teachers, adaptive", True, changed=(("adaptive", True),)),
    Arm("... without teachers, impartial", True, changed=(("schedule", "round-robin"), ("impartial", True))),
)


def scores(cell: Mapping[str, Any]) -> dict[str, float]:
    """A task's score, 0 to 1 but for CIDEr."""
    names = {"cross-modal": "mean_recall", "composed": "mean_recall", "classification": "mean", "captioning": "mean"}
    return {task: found[names[task]] for task, found in cell["scores"].items()}


def shown(rows: Mapping[str, Sequence[Numbers]], arms: Sequence[Arm]) -> Iterator[str]:
    """The table: means over seeds, with the spread. rows: by arm, one a seed."""
    four = {task: STL_XAA if task == "captioning" else STL for task in TASKS}
    base = sum(rows[arm.name][0]["each"][task] for task, arm in four.items())
    head = f"{'':<34}{'parameters':>12}" + "".join(f"{name:>26}" for name in TASKS.values())
    yield f"{head}{'mean change':>13}{'but for FIC':>13}"
    for arm in arms:
        cells, changes = [], {}
        for task in TASKS:
            if task not in arm.tasks:
                cells.append("-")
                continue
            here = [100 * row["scores"][task] for row in rows[arm.name]]
            from_ = STL_XAA if task == "captioning" else STL
            there = [100 * row["scores"][task] for row in rows[from_.name]]
            change = 100 * (statistics.mean(here) / statistics.mean(there) - 1)
            changes[task] = change
            cells.append(f"{statistics.mean(here):.1f} ({min(here):.1f}-{max(here):.1f}) {change:+.1f}%")
        parameters = rows[arm.name][0]["parameters"]
        line = f"{arm.name:<34}{parameters:>12,}" + "".join(f"{cell:>26}" for cell in cells)
        shared = statistics.mean(changes[task] for task in STL.tasks)
        yield line + f"{statistics.mean(changes.values()):>+12.1f}%{shared:>+12.1f}%"
    ratio = rows[BOTH.name][0]["parameters"] / base - 1
    yield f"parameters of {BOTH.name} against those of four models of one task (STL, captions with XAA): {ratio:+.1%}"

"""One model for four tasks, or a model each? With which adapters? The rows of the paper's table 4, on a small CLIP.

No CLIP weights can be had here, so quality is compared at equal data and equal steps, from one start: a CLIP of two
blocks a tower ("tiny", 48 px, 1,024 tokens), trained from nothing on pictures and their texts (part `start`): for
Atelier those of another, larger drawn set, as CLIP has seen much that is not the shop's; for fashion-products the
training pictures. Data: famevil_data.py. Every arm goes on from there:

    STL               a model for each task, nothing added (no caption: words would not see the picture)
    STL + TSA         with adapters
    STL + XAA         with ways across (matching walks none, so that task is STL again)
    STL + TSA + XAA   with both; these models are the teachers below
    MTL               one model of the three tasks, nothing added
    MTL + TSA, MTL + XAA, MTL + TSA + XAA            one model of three (without ways across) or four tasks
    MTL + TSA + XAA + teachers                       its distillation
    ... uniform, ... round-robin, ... adaptive       other orders of the tasks, and IAS; with --more
    ... impartial                                    IMTL-G; with --more

All is equal otherwise: AdamW, batches of --batch rows, --epochs passes over each task's rows, alone or together (so a
task has the same number of batches everywhere, and a step of a model of four tasks costs the same as one of a single
task), cosine schedule, the last weights kept, the test split read once at the end. The learning rate and the share of
it that the CLIP's own weights get are chosen once by "MTL + TSA + XAA" on the validation split, seed 0 (first the
share, at the middle rate, then the rate), and taken over by all arms; --rates gives them.

Score of a task, as in the paper: XMR the mean of recall@1/5/10 both ways over the full gallery, TGIR the mean of
recall@10/50, SCR the mean of accuracy and macro-F1, FIC the mean of BLEU-4, ROUGE-L and CIDEr-D (no METEOR). Relative
change is to STL, for captions to STL + XAA. An STL row's scores come from four models, an MTL row's from one.
Cells that the JSON file has already are not run again, so an interrupted study goes on.

    python benchmarks/famevil_real.py --set atelier [--products 1200] [--start-products 2000]
                                    | --set fashion-products --data FOLDER
        [--seeds 0] [--epochs 7] [--start-epochs 20] [--batch 64] [--rates LR SHARE] [--more] [--json FILE]
        [--folder FOLDER] [--minutes M]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from famevil_data import atelier, fashion_products, other_atelier
from safetensors.torch import save_file

import fashreg

TASKS = {"cross-modal": "XMR", "composed": "TGIR", "classification": "SCR", "captioning": "FIC"}
MODEL = {"name": "fame-vil", "model": "tiny", "image_size": 48, "context_length": 32, "vocabulary": 1024, "crop": 1.0}
RATES, SHARES = (1e-3, 3e-3, 1e-2), (0.01, 0.1, 1.0)
Numbers = dict[str, Any]


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


class Study:
    """The tables, the start, and what was found so far."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.file = options, folder, options.json
        known = self.file is not None and self.file.is_file()
        self.found: dict[str, Numbers] = json.loads(self.file.read_text()) if known else {}
        self.until = time.monotonic() + 60 * options.minutes

    @cached_property
    def tables(self) -> tuple[Path, Path]:
        """Pictures with texts, and edits."""
        if self.options.set == "atelier":
            return atelier(self.folder / "tables", self.options.products)
        return fashion_products(self.options.data, self.folder / "tables")

    def data_of(self, task: str) -> Numbers:
        """The task's data as a recipe writes it."""
        drawn = self.options.set == "atelier"
        table, edits = map(str, self.tables)
        if task == "composed":
            return {"table": edits, "target": "target", "label": "look", "text": "text"}
        names = {"classification": "category"} if drawn else {"classification": "sub_category"}
        label = names.get(task, "label" if drawn else "id")
        return {"table": table, "label": label, "text": "caption" if drawn else "title"}

    def recipe(self, arm: Arm, tasks: Sequence[str], seed: int, *, epochs: int, **options: Any) -> Numbers:
        """What is trained."""
        lr, share = options.pop("rates")
        adapters = "own" if arm.adapters else "none"
        learner = {"name": "multi-task", "clip_lr_factor": share, **dict(arm.changed), **options.pop("learner", {})}
        trainer = {"epochs": epochs, "lr": lr, "batch_size": self.options.batch, "warmup_share": 0.05}
        trainer |= {"evaluate_every": 0, "checkpoint_every": 0}
        if learner.get("impartial"):
            trainer["accumulate"] = len(tasks)
        return {
            "data": {**self.data_of("cross-modal"), "augment": {"name": "catalogue", "flip": 0.0}, "decoded": True},
            "tasks": {task: {"data": self.data_of(task)} for task in tasks},
            "backbone": {**MODEL, "weights": None, "task_adapters": adapters, "cross_attention": arm.across, **options},
            "head": "fame-vil",
            "learner": learner,
            "trainer": trainer,
            "seed": seed,
        }

    def start(self) -> tuple[Path, Numbers]:
        """A CLIP trained from nothing on pictures and texts: a file of its weights."""
        path = self.folder / f"start-{self.options.start_epochs}.safetensors"
        key = f"start, epochs {self.options.start_epochs}"
        if not path.is_file():
            rates = (2e-3, 1.0)
            recipe = self.recipe(STL, ("cross-modal",), 0, epochs=self.options.start_epochs, rates=rates)
            if self.options.set == "atelier":
                table = other_atelier(self.folder / "start", self.options.start_products)
                recipe["tasks"]["cross-modal"]["data"] |= {"table": str(table)}
            began = time.perf_counter()
            run = fashreg.train(recipe, quiet=True)
            clip = run.encoder.backbone.trunk.clip
            save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, path)
            self._keep(key, {"scores": scores_of(run), "seconds": time.perf_counter() - began})
        return path, self.found.get(key, {})

    def cell(self, arm: Arm, tasks: Sequence[str], seed: int, *, rates: tuple[float, float], judged: str) -> Numbers:
        """One training: the scores of its tasks on the judged split."""
        key = f"{arm.name}, {' + '.join(TASKS[task] for task in tasks)}, seed {seed}, lr {rates[0]:g} x {rates[1]:g}"
        key += f", epochs {self.options.epochs}, {judged}"
        kept = self.folder / key.replace("/", "-")
        wanted = arm == TEACHERS and judged == "test"
        if key in self.found and not (wanted and not kept.is_dir() and self._teaches(seed, rates)):
            return self.found[key]
        if time.monotonic() > self.until:
            sys.exit(3)
        learner: Numbers = {}
        if arm.taught:
            learner["teachers"] = {task: str(self.teacher(task, seed, rates)) for task in tasks}
        path, _ = self.start()
        recipe = self.recipe(
            arm, tasks, seed, epochs=self.options.epochs, rates=rates, weights=str(path), learner=learner
        )
        if judged == "validation":
            recipe["data"] |= {"test_split": "validation", "validation_split": "none"}
        began = time.perf_counter()
        run = fashreg.train(recipe, quiet=True, out=kept if wanted else None)
        if key not in self.found:
            parameters = sum(p.numel() for p in run.encoder.parameters())
            taken = time.perf_counter() - began
            self._keep(key, {"scores": scores_of(run), "parameters": parameters, "seconds": taken})
        return self.found[key]

    def teacher(self, task: str, seed: int, rates: tuple[float, float]) -> Path:
        """The model of one task with both kinds of adapters; trained anew where its folder is gone."""
        key = f"{TEACHERS.name}, {TASKS[task]}, seed {seed}, lr {rates[0]:g} x {rates[1]:g}"
        key += f", epochs {self.options.epochs}, test"
        if not (self.folder / key / "model").is_dir():
            self.cell(TEACHERS, (task,), seed, rates=rates, judged="test")
        return self.folder / key / "model"

    def _teaches(self, seed: int, rates: tuple[float, float]) -> bool:
        """Whether an arm that is not done yet needs this seed's teachers."""
        arms = [arm for arm in (*ARMS, *(MORE if self.options.more else ())) if arm.taught]
        end = f"seed {seed}, lr {rates[0]:g} x {rates[1]:g}, epochs {self.options.epochs}, test"
        return any(not any(key.startswith(f"{arm.name}, ") and key.endswith(end) for key in self.found) for arm in arms)

    def chosen(self) -> tuple[float, float]:
        """Learning rate, and the CLIP's share of it."""

        def score(rates: tuple[float, float]) -> float:
            cell = self.cell(BOTH, BOTH.tasks, 0, rates=rates, judged="validation")
            return statistics.mean(scores(cell).values())

        share = max(SHARES, key=lambda share: score((RATES[1], share)))
        return max(RATES, key=lambda lr: score((lr, share))), share

    def row(self, arm: Arm, seed: int, rates: tuple[float, float]) -> Numbers:
        """Scores of every task of an arm, and its parameters."""
        groups = [arm.tasks] if arm.together else [(task,) for task in arm.tasks]
        cells = [self.cell(arm, tasks, seed, rates=rates, judged="test") for tasks in groups]
        return {
            "scores": {task: score for cell in cells for task, score in scores(cell).items()},
            "parameters": sum(cell["parameters"] for cell in cells),
            "seconds": sum(cell["seconds"] for cell in cells),
        }

    def _keep(self, key: str, numbers: Numbers) -> None:
        self.found[key] = numbers
        told = {TASKS[task]: round(100 * score, 1) for task, score in scores(numbers).items()}
        print(f"{key}: {told} in {numbers['seconds']:.0f} s", flush=True)
        if self.file is not None:
            fresh = self.file.with_suffix(".part")
            fresh.write_text(json.dumps(self.found, indent=1))
            fresh.replace(self.file)


def scores_of(run: Any) -> Numbers:
    """Every metric of every task."""
    return {task: dict(found["metrics"]) for task, found in run.as_dict()["tasks"].items()}


def scores(cell: Mapping[str, Any]) -> dict[str, float]:
    """A task's score, 0 to 1 but for CIDEr."""
    names = {"cross-modal": "mean_recall", "composed": "mean_recall", "classification": "mean", "captioning": "mean"}
    return {task: found[names[task]] for task, found in cell["scores"].items()}


def shown(study: Study, arms: Sequence[Arm], seeds: Sequence[int], rates: tuple[float, float]) -> Iterator[str]:
    """The table: means over seeds, with the spread."""
    rows = {arm.name: [study.row(arm, seed, rates) for seed in seeds] for arm in arms}
    four = {task: STL_XAA if task == "captioning" else STL for task in TASKS}
    base = sum(
        study.cell(arm, (task,), seeds[0], rates=rates, judged="test")["parameters"] for task, arm in four.items()
    )
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=("atelier", "fashion-products"), default="atelier")
    parser.add_argument("--data", type=Path, help="folder of the data, for fashion-products")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--products", type=int, default=1200, help="of Atelier; 60 %% are for training")
    parser.add_argument("--start-products", type=int, default=2000, help="of the other drawn set, for the start")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--start-epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rates", type=float, nargs=2, metavar=("LR", "SHARE"), help="given, not chosen")
    parser.add_argument("--more", action="store_true", help="also other orders, adaptive and impartial")
    parser.add_argument("--folder", type=Path, help="keeps tables, the start and the teachers; unset: made for the run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop before a cell that begins later (exit 3)")
    options = parser.parse_args()
    if options.set == "fashion-products" and options.data is None:
        parser.error("--set fashion-products needs --data FOLDER")
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as made:
        study = Study(options, (options.folder or Path(made)) / options.set)
        rates = tuple(options.rates) if options.rates else study.chosen()
        print(f"{'given' if options.rates else 'chosen'}: lr {rates[0]:g}, the CLIP at {rates[1]:g} of it", flush=True)
        arms = (*ARMS, *(MORE if options.more else ()))
        print("\n".join(shown(study, arms, options.seeds, rates)))


if __name__ == "__main__":
    main()

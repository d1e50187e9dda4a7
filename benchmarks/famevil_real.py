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
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from famevil_arms import ARMS, BOTH, MORE, STL, TASKS, TEACHERS, Arm, scores, shown
from famevil_data import atelier, fashion_products, other_atelier
from safetensors.torch import save_file
from study import Cells, Numbers, add_cell_arguments

import fashreg

MODEL = {"name": "fame-vil", "model": "tiny", "image_size": 48, "context_length": 32, "vocabulary": 1024, "crop": 1.0}
RATES, SHARES = (1e-3, 3e-3, 1e-2), (0.01, 0.1, 1.0)


class Study:
    """The tables, the start, and what was found so far."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.cells = Cells(options.json, _told, options.minutes)

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
        if learner.get("adaptive"):  # its scales come from what is measured on the validation split
            trainer["evaluate_every"] = 1
        return {
            "data": {**self.data_of("cross-modal"), "augment": {"name": "catalogue", "flip": 0.0}, "decoded": True},
            "tasks": {task: {"data": self.data_of(task)} for task in tasks},
            "backbone": {**MODEL, "weights": None, "task_adapters": adapters, "cross_attention": arm.across, **options},
            "head": "fame-vil",
            "learner": learner,
            "trainer": trainer,
            "seed": seed,
        }

    def start(self) -> Path:
        """A CLIP trained from nothing on pictures and texts: a file of its weights."""
        path = self.folder / f"start-{self.options.start_epochs}.safetensors"

        def make() -> Numbers:
            recipe = self.recipe(STL, ("cross-modal",), 0, epochs=self.options.start_epochs, rates=(2e-3, 1.0))
            if self.options.set == "atelier":
                table = other_atelier(self.folder / "start", self.options.start_products)
                recipe["tasks"]["cross-modal"]["data"] |= {"table": str(table)}
            began = time.perf_counter()
            run = fashreg.train(recipe, quiet=True)
            clip = run.encoder.backbone.trunk.clip
            save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, path)
            return {"scores": scores_of(run), "seconds": time.perf_counter() - began}

        self.cells.get(f"start, epochs {self.options.start_epochs}", make)
        if not path.is_file():  # known, but its file is gone
            make()
        return path

    def cell(self, arm: Arm, tasks: Sequence[str], seed: int, *, rates: tuple[float, float], judged: str) -> Numbers:
        """One training: the scores of its tasks on the judged split."""
        return self.cells.get(self._key(arm, tasks, seed, rates, judged), self._made(arm, tasks, seed, rates, judged))

    def teacher(self, task: str, seed: int, rates: tuple[float, float]) -> Path:
        """The model of one task with both kinds of adapters; trained anew where its folder is gone."""
        kept = self.folder / self._key(TEACHERS, (task,), seed, rates, "test")
        if not (kept / "model").is_dir():
            self._made(TEACHERS, (task,), seed, rates, "test")()
        return kept / "model"

    def _key(self, arm: Arm, tasks: Sequence[str], seed: int, rates: tuple[float, float], judged: str) -> str:
        does = " + ".join(TASKS[task] for task in tasks)
        made = f"lr {rates[0]:g} x {rates[1]:g}, epochs {self.options.epochs}"
        return f"{arm.name}, {does}, seed {seed}, {made}, {judged}"

    def _made(
        self, arm: Arm, tasks: Sequence[str], seed: int, rates: tuple[float, float], judged: str
    ) -> Callable[[], Numbers]:
        """The training itself; models that may teach are kept."""

        def make() -> Numbers:
            taught = {task: str(self.teacher(task, seed, rates)) for task in tasks} if arm.taught else {}
            given = {"weights": str(self.start()), "learner": {"teachers": taught} if taught else {}}
            recipe = self.recipe(arm, tasks, seed, epochs=self.options.epochs, rates=rates, **given)
            if judged == "validation":
                recipe["data"] |= {"test_split": "validation", "validation_split": "none"}
            teaches = arm == TEACHERS and judged == "test"
            began = time.perf_counter()
            run = fashreg.train(
                recipe, quiet=True, out=self.folder / self._key(arm, tasks, seed, rates, judged) if teaches else None
            )
            parameters, seconds = sum(p.numel() for p in run.encoder.parameters()), time.perf_counter() - began
            return {"scores": scores_of(run), "parameters": parameters, "seconds": seconds}

        return make

    def chosen(self) -> tuple[float, float]:
        """Learning rate, and the CLIP's share of it."""

        def score(rates: tuple[float, float]) -> float:
            cell = self.cell(BOTH, BOTH.tasks, 0, rates=rates, judged="validation")
            return statistics.mean(scores(cell).values())

        share = max(SHARES, key=lambda share: score((RATES[1], share)))
        return max(RATES, key=lambda lr: score((lr, share))), share

    def row(self, arm: Arm, seed: int, rates: tuple[float, float]) -> Numbers:
        """Scores of every task of an arm, its parameters, and each task's model's."""
        groups = [arm.tasks] if arm.together else [(task,) for task in arm.tasks]
        cells = [self.cell(arm, tasks, seed, rates=rates, judged="test") for tasks in groups]
        return {
            "scores": {task: score for cell in cells for task, score in scores(cell).items()},
            "parameters": sum(cell["parameters"] for cell in cells),
            "each": {task: cell["parameters"] for tasks, cell in zip(groups, cells, strict=True) for task in tasks},
        }


def _told(cell: Numbers) -> str:
    found = {TASKS[task]: round(100 * score, 1) for task, score in scores(cell).items()}
    return f"{found} in {cell['seconds']:.0f} s"


def scores_of(run: Any) -> Numbers:
    """Every metric of every task."""
    return {task: dict(found["metrics"]) for task, found in run.as_dict()["tasks"].items()}


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
    add_cell_arguments(parser)
    options = parser.parse_args()
    if options.set == "fashion-products" and options.data is None:
        parser.error("--set fashion-products needs --data FOLDER")
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as made:
        study = Study(options, (options.folder or Path(made)) / options.set)
        rates = tuple(options.rates) if options.rates else study.chosen()
        print(f"{'given' if options.rates else 'chosen'}: lr {rates[0]:g}, the CLIP at {rates[1]:g} of it", flush=True)
        arms = (*ARMS, *(MORE if options.more else ()))
        rows = {arm.name: [study.row(arm, seed, rates) for seed in options.seeds] for arm in arms}
        print("\n".join(shown(rows, arms)))


if __name__ == "__main__":
    main()

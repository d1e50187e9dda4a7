"""Does a memory help, does a stale one hurt, and does matching its moments mend that? On fashion-products.

Arms: no memory, `xbm`, and `acbn` as XBN in its plain form ("xbn-plain": the batch's own mean and spread, whatever the
batch is worth), as kind xbn with our guards ("xbn": a batch worth less than 8 rows gives its mean only,
and small samples' spread is corrected), with its Kalman filter ("acbn"), and with the filter's final gain from the
start ("ema", the control). All else is equal: EfficientNet-Lite0 at 128 px with ImageNet weights, the
stages up to blocks.5 frozen and their features cached (three views of each picture: as at evaluation, and two varied
as in training); blocks.6, conv_head and a projection to 128 are trained with AdamW, batch norm's statistics fixed,
cosine schedule, the same number of steps, class-balanced batches of four pictures a class. Embeddings drift: the
trained part moves them. The memory begins at step 50.

    choose  each arm's learning rate at each batch size, from the same three, by map@r on a fifth of the training
            styles (seed 0); also the loss, among three, with and without `xbm`, at batch size 16
    batch   batch sizes 8 to 64, memory of 2,048: trained on all training styles, judged on the test styles
    memory  memories of 512 to all, batch size 16
    gain    `acbn` with other process variances q, at every batch size (the arm "acbn" keeps q = 0.01); three of them on
            the held-out training styles, too, which is what a default may be chosen by
    whole   batch size 16, the whole network trained from pictures for --epochs by the recipe's own loop, with the
            learning rates chosen above; seed by seed, so that an interrupted study has all arms

    time    least milliseconds a step of every arm, in turns, with a full memory, on drawn features; judges nothing

Test styles are read by `batch`, `memory`, `gain` and `whole` only, never to choose anything. Drift is measured on all
remembered rows, as the loss is given them, at a quarter, half and the end (fashreg_acbn.drift): their embedding is
computed anew from the view that was pushed. A single training: acbn_cell.py.
Cells that the JSON file has already are not run again, so an interrupted study goes on.

    python benchmarks/acbn_real.py --data FOLDER [--parts PART ...] [--seeds 0 1 2] [--steps 400] [--epochs 1]
        [--json FILE] [--features FILE] [--minutes M]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from functools import partial
from typing import Any

import numpy as np
import torch
from acbn_cell import DRIFT, METRICS, Cell, Training, loss_spec, memory_spec, train
from products import CUT, VIEWS, Classes, add_blocks_argument, add_data_argument, new_encoder, table_of
from study import Cells, Numbers, add_cell_arguments

import fashreg
from fashreg.training.allocator import keep_freed_memory

RATES = (1e-4, 3e-4, 1e-3)
BATCHES, CAPACITY, CAPACITIES, FIXED = (8, 16, 32, 64), 2048, (512, 1024, 2048, 5036), 16
GAINS, HELD_GAINS = (1e-4, 1e-3, 1e-1, 1.0), (1e-2, 1e-1, 1.0)
LOSSES = ("contrastive", "contrastive over pairs", "multi-similarity")
ARMS = ("none", "xbm", "xbn-plain", "xbn", "acbn", "ema")
PARTS = ("choose", "batch", "memory", "gain", "whole", "time")


class Study:
    """The classes, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.classes = Classes(table_of(options.data), kept=options.features)
        self.steps, self.epochs = options.steps, options.epochs
        self.cells = Cells(options.json, lambda numbers: f"{numbers['map@r']:.4f}", options.minutes)

    def cell(self, cell: Cell) -> Numbers:
        """The numbers of one training, run unless they are known."""
        return self.cells.get(f"{cell.key}, steps {self.steps}", lambda: train(self.classes, cell, self.steps))


# ---- the parts of the study ----


def chosen_loss(study: Study) -> str:
    """The loss whose better arm, with or without memory, is best on the held-out training styles."""
    best = {
        name: max(
            study.cell(Cell(arm, FIXED, CAPACITY, lr, name, 0, "held"))["map@r"]
            for arm in ("none", "xbm")
            for lr in RATES
        )
        for name in LOSSES
    }
    return max(best, key=lambda name: best[name])


def chosen_rate(study: Study, arm: str, batch: int, loss: str) -> float:
    cells = {lr: study.cell(Cell(arm, batch, CAPACITY, lr, loss, 0, "held"))["map@r"] for lr in RATES}
    return max(cells, key=lambda lr: cells[lr])


def show(title: str, rows: dict[str, list[Numbers]]) -> None:
    """A line an arm: mean and range over seeds."""
    print(f"\n{title}")
    for name, runs in rows.items():
        figures = "  ".join(spread([run[metric] for run in runs]) for metric in METRICS)
        steps = statistics.median(run["seconds_a_step"] for run in runs)
        print(f"{name:<26}{figures}  {1000 * steps:6.1f} ms{drifted(runs)}", flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def drifted(runs: list[Numbers]) -> str:
    ends = [end for run in runs for end in list(run.get("drift", {}).values())[-1:] if end]
    means = [statistics.mean(end[name] or 0.0 for end in ends) for name in DRIFT] if ends else []
    return "  drift " + " / ".join(f"{value:.3f}" for value in means) if means else ""


def trainings(study: Study, seeds: list[int], loss: str, arm: str, batch: int, capacity: int) -> Any:
    lr = chosen_rate(study, arm, batch, loss)
    return [study.cell(Cell(arm, batch, capacity, lr, loss, seed, "test")) for seed in seeds]


def gains(study: Study, seeds: list[int], loss: str) -> None:
    """`acbn` with other process variances, on held-out training styles and on the test styles."""
    for batch, judged in itertools.product(BATCHES, ("held", "test")):
        lr, rows = chosen_rate(study, "acbn", batch, loss), {}
        for q in HELD_GAINS if judged == "held" else GAINS:
            cells = [Cell("acbn", batch, CAPACITY, lr, loss, seed, judged, q) for seed in seeds]
            rows[f"acbn, q = {q:g}"] = [study.cell(cell) for cell in cells]
        show(f"{judged} styles, batch size {batch}, memory of {CAPACITY}", rows)


def times(study: Study, loss: str, batch: int, rounds: int = 40) -> dict[str, float]:
    """Least milliseconds of an arm's step once its memory is full; the arms take turns, in an order drawn anew."""
    shape = new_encoder(0).until(torch.zeros(1, 3, 128, 128), CUT).shape[1:]
    stored = torch.rand(len(study.classes.parts["held"][0]), VIEWS, *shape)
    cells = {arm: Cell(arm, batch, CAPACITY, 1e-4, loss, 0, "held") for arm in ARMS}
    runs = {arm: Training(study.classes, cell, study.steps, stored) for arm, cell in cells.items()}
    for run in runs.values():
        if run.memory is not None:
            run.memory.start_step = 0
            numbers = torch.arange(CAPACITY) % len(run.table)
            vectors = torch.nn.functional.normalize(torch.randn(CAPACITY, 128))
            run.memory.push(fashreg.Embedded(vectors, run.labels[numbers], numbers, unit=True))
    taken: dict[str, list[float]] = {arm: [] for arm in ARMS}
    order = np.random.default_rng(0)
    for turn in range(rounds + 3):
        for arm in order.permutation(ARMS).tolist():
            seconds = runs[arm].step()
            if turn > 2:
                taken[arm].append(1000 * seconds)
    return {arm: min(values) for arm, values in taken.items()}


def whole(study: Study, arm: str, lr: float, loss: str, seed: int) -> Numbers:
    """One training with the product's own loop, from pictures, nothing frozen."""
    found = fashreg.train(
        "fashion-products", table=study.classes.source, seed=seed, quiet=True, loss=loss_spec(loss),
        memory=memory_spec(Cell(arm, FIXED, CAPACITY, lr, loss, seed, "test")),
        trainer={"batch_size": FIXED, "lr": lr, "epochs": study.epochs, "checkpoint_every": 0},
    )  # fmt: skip
    assert found.after is not None
    return {
        **{name: found.after.metrics[name] for name in METRICS},
        "intervals": {name: found.after.intervals[name] for name in METRICS},
        "steps": found.report.steps, "seconds_a_step": found.report.seconds / found.report.steps,
    }  # fmt: skip


def wholes(study: Study, seeds: list[int], loss: str) -> dict[str, list[Numbers]]:
    """Every arm once more from pictures, a seed of every arm before the next."""
    rows: dict[str, list[Numbers]] = {}
    for seed, arm in itertools.product(seeds, ARMS):
        lr = chosen_rate(study, arm, FIXED, loss)
        key = f"whole, {arm}, lr {lr:g}, seed {seed}, epochs {study.epochs}"
        made = partial(whole, study, arm, lr, loss, seed)
        rows.setdefault(arm, []).append(study.cells.get(key, made))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=1, help="of the part whole")
    add_cell_arguments(parser)
    add_blocks_argument(parser)
    options = parser.parse_args()
    keep_freed_memory()
    study, seeds = Study(options), options.seeds
    loss = chosen_loss(study)
    print(f"loss: {loss}; learning rates by arm and batch size:")
    for arm in ARMS:
        print(f"  {arm:<10}", *(f"B {b}: {chosen_rate(study, arm, b, loss):g}" for b in BATCHES), sep="  ")
    if "batch" in options.parts:
        for batch in BATCHES:
            rows = {arm: trainings(study, seeds, loss, arm, batch, CAPACITY) for arm in ARMS}
            show(f"test styles, batch size {batch}, memory of {CAPACITY}", rows)
    if "memory" in options.parts:
        for capacity in CAPACITIES:
            rows = {arm: trainings(study, seeds, loss, arm, FIXED, capacity) for arm in ARMS if arm != "none"}
            show(f"test styles, batch size {FIXED}, memory of {capacity}", rows)
    if "gain" in options.parts:
        gains(study, seeds, loss)
    if "whole" in options.parts:
        show(f"test styles, the whole network, batch size {FIXED}", wholes(study, seeds, loss))
    if "time" in options.parts:
        for batch in BATCHES:
            found = times(study, loss, batch)
            print(f"ms a step, batch size {batch}:", *(f"{arm} {value:.1f}" for arm, value in found.items()), sep="  ")


if __name__ == "__main__":
    main()

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
computed anew from the view that was pushed.
Cells that the JSON file has already are not run again, so an interrupted study goes on.

    python benchmarks/acbn_real.py --data FOLDER [--parts PART ...] [--seeds 0 1 2] [--steps 400] [--epochs 1]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fashreg_acbn import drift as meter
from products import CUT, add_data_argument, new_encoder, prefix, table_of
from torch import Tensor

import fashreg
from fashreg.data.splits import hold_out, training_tables
from fashreg.data.table import Table
from fashreg.jobs.evaluation import evaluate_vectors
from fashreg.training.allocator import keep_freed_memory

VIEWS, START, WARMUP = 3, 50, 20
RATES = (1e-4, 3e-4, 1e-3)
BATCHES, CAPACITY, CAPACITIES, FIXED = (8, 16, 32, 64), 2048, (512, 1024, 2048, 5036), 16
GAINS, HELD_GAINS = (1e-4, 1e-3, 1e-1, 1.0), (1e-2, 1e-1, 1.0)
LOSSES = ("contrastive", "contrastive over pairs", "multi-similarity")
LOSS_SPECS: dict[str, Any] = {"contrastive over pairs": {"name": "contrastive", "normaliser": "pairs"}}
ARMS = ("none", "xbm", "xbn-plain", "xbn", "acbn", "ema")
PLAIN = {"unbiased": False, "min_effective": 1.0}  # the options of "xbn-plain"
METRICS = ("recall@1", "recall@10", "map@r")
DRIFT = ("distance", "mean_gap", "std_gap", "correctable")
PARTS = ("choose", "batch", "memory", "gain", "whole", "time")
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training."""

    arm: str
    batch: int
    capacity: int
    lr: float
    loss: str
    seed: int
    judged: str  # "held" (a fifth of the training styles) or "test"
    q: float = 0.01

    @property
    def key(self) -> str:
        gain = f" q {self.q:g}" if self.q != 0.01 else ""
        memory = f" of {self.capacity}" if self.arm != "none" else ""
        return f"{self.arm}{memory}{gain}, {self.loss}, B {self.batch}, lr {self.lr:g}, seed {self.seed}, {self.judged}"


def memory_spec(cell: Cell, start: int = START) -> Numbers | None:
    """The memory of an arm as a recipe writes it."""
    shared = {"capacity": cell.capacity, "start_step": start}
    kinds = {"xbn-plain": "xbn", "xbn": "xbn", "acbn": "adaptive", "ema": "ema"}
    if cell.arm == "none":
        return None
    if cell.arm == "xbm":
        return {"name": "xbm", **shared}
    plain = PLAIN if cell.arm == "xbn-plain" else {}
    return {"name": "acbn", "kind": kinds[cell.arm], "q": cell.q, **plain, **shared}


def loss_spec(name: str) -> Any:
    return LOSS_SPECS.get(name, name)


class Study:
    """The table, its cached features, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.table, self.steps, self.file = table_of(options.data), options.steps, options.json
        kept = self.file is not None and self.file.is_file()
        self.found: dict[str, Numbers] = json.loads(self.file.read_text()) if kept else {}
        self.steps_key, self.epochs = f"steps {self.steps}", options.epochs

    @cached_property
    def whole_train(self) -> Table:
        return training_tables({"label": "style", "test_split": "none"}, source=self.table).train

    @cached_property
    def parts(self) -> dict[str, tuple[Table, Table]]:
        """What is trained on and judged, by what is judged."""
        held = hold_out(self.whole_train, 0.2, 0)
        test = fashreg.read_table(self.table, {"label": "style"}, split="test")
        return {"held": held, "test": (self.whole_train, test)}

    @cached_property
    def features(self) -> dict[int, Tensor]:
        """(VIEWS, C, h, w) by id of a picture; pictures that are only judged have one view."""
        encoder, cached = new_encoder(0), {}
        for table, views in ((self.whole_train, VIEWS), (self.parts["test"][1], 1)):
            made = torch.stack([prefix(encoder, table, view) for view in range(views)], 1)
            cached |= dict(zip(table.ids.tolist(), made, strict=True))
        return cached

    def cell(self, cell: Cell) -> Numbers:
        """The numbers of one training, run unless they are known."""
        key = f"{cell.key}, {self.steps_key}"
        if key not in self.found:
            self.keep(key, train(self, cell))
        return self.found[key]

    def keep(self, key: str, numbers: Numbers) -> None:
        """Note what a training gave, in the file at once."""
        self.found[key] = numbers
        if self.file is not None:
            self.file.write_text(json.dumps(self.found, indent=1) + "\n")
        print(f"  {key}: {numbers['map@r']:.4f}", file=sys.stderr, flush=True)


class Training:
    """One cell's network, loss, memory, batches and optimiser, and the steps taken with them."""

    def __init__(self, study: Study, cell: Cell, stored: Tensor | None = None) -> None:
        self.cell, self.steps, (self.table, self.judged) = cell, study.steps, study.parts[cell.judged]
        if stored is None:
            stored = torch.stack([study.features[number] for number in self.table.ids.tolist()])
        self.stored = stored  # (N, VIEWS, C, h, w)
        self.encoder, self.loss = new_encoder(cell.seed), fashreg.build("loss", loss_spec(cell.loss))
        spec = memory_spec(cell)
        self.memory = None if spec is None else fashreg.build("memory", spec, embed_dim=128)
        sampler = fashreg.build(
            "sampler", {"name": "class-balanced", "images_per_class": 4},
            labels=torch.from_numpy(self.table.labels), batch_size=cell.batch, seed=cell.seed,
        )  # fmt: skip
        weights = [p for p in self.encoder.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=cell.lr, weight_decay=1e-4)
        self.random, self.batches = np.random.default_rng(cell.seed), endless(sampler)
        self.labels, self.ids = torch.from_numpy(self.table.labels), torch.arange(len(self.table))
        self.seen, self.taken = torch.zeros(len(self.table), dtype=torch.long), 0

    def step(self) -> float:
        """One optimiser step; its seconds."""
        share = min(1.0, (self.taken + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * self.taken / self.steps))
        self.optimizer.param_groups[0]["lr"] = self.cell.lr * share
        where = torch.as_tensor(next(self.batches))
        self.seen[where] = torch.from_numpy(self.random.integers(VIEWS, size=len(where)))
        started = time.perf_counter()
        vectors = self.encoder.from_stage(self.stored[where, self.seen[where]], CUT)
        batch = fashreg.Embedded(vectors, self.labels[where], self.ids[where])
        value = objective(self.loss, self.memory, batch)
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        if self.memory is not None:
            self.memory.push(batch.detach())
        self.taken += 1
        return time.perf_counter() - started


def train(study: Study, cell: Cell) -> Numbers:
    """Train one cell and judge it."""
    run, drift, seconds = Training(study, cell), {}, 0.0
    for step in range(1, study.steps + 1):
        seconds += run.step()
        if run.memory is not None and step in (study.steps // 4, study.steps // 2, study.steps):
            drift[str(step)] = drift_of(run.encoder, run.memory, run.stored, run.seen)
    features = torch.stack([study.features[number][0] for number in run.judged.ids.tolist()])
    vectors = run.encoder.embed(features, stage=CUT)
    found = evaluate_vectors(vectors, run.judged, [fashreg.build("evaluator", "retrieval")])
    numbers = {name: found.metrics[name] for name in METRICS}
    return {
        **numbers, "intervals": {name: found.intervals[name] for name in METRICS}, "drift": drift,
        "seconds_a_step": seconds / study.steps,
    }  # fmt: skip


def endless(sampler: Any) -> Any:
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from sampler


def objective(loss: Any, memory: Any, batch: fashreg.Embedded) -> Tensor:
    """loss(batch) and, once it holds something, loss(batch, memory): as the standard learner weighs them."""
    if memory is None:
        return loss(batch)
    memory.align(batch.detach())
    if not len(memory):
        return loss(batch)
    return memory.batch_weight * loss(batch) + memory.memory_weight * loss(batch, memory.read())


@torch.no_grad()
def drift_of(encoder: fashreg.Encoder, memory: Any, stored: Tensor, seen: Tensor) -> Numbers:
    """How far the rows that the loss is given lie from what the present weights make of the same view."""
    kept = memory.read()
    newest = {number: row for row, number in enumerate(kept.ids.tolist())}  # a later copy is of the view in `seen`
    if not newest:
        return {}
    numbers, rows = torch.tensor(list(newest)), torch.tensor(list(newest.values()))
    parts = [encoder.from_stage(stored[part, seen[part]], CUT) for part in numbers.split(256)]
    drift = meter.drift_of(kept.vectors[rows], torch.cat(parts))
    return {name: getattr(drift, name) for name in DRIFT}


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
    stored = torch.rand(len(study.parts["held"][0]), VIEWS, *shape)
    runs = {arm: Training(study, Cell(arm, batch, CAPACITY, 1e-4, loss, 0, "held"), stored) for arm in ARMS}
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


def whole(study: Study, seeds: list[int], loss: str) -> dict[str, list[Numbers]]:
    """Every arm once more with the product's own training, from pictures, nothing frozen."""
    rows: dict[str, list[Numbers]] = {}
    for seed, arm in itertools.product(seeds, ARMS):
        lr = chosen_rate(study, arm, FIXED, loss)
        key = f"whole, {arm}, lr {lr:g}, seed {seed}, epochs {study.epochs}"
        if key not in study.found:
            found = fashreg.train(
                "fashion-products", table=study.table, seed=seed, quiet=True, loss=loss_spec(loss),
                memory=memory_spec(Cell(arm, FIXED, CAPACITY, lr, loss, seed, "test")),
                trainer={"batch_size": FIXED, "lr": lr, "epochs": study.epochs, "checkpoint_every": 0},
            )  # fmt: skip
            assert found.after is not None
            numbers = {
                "intervals": {name: found.after.intervals[name] for name in METRICS},
                "steps": found.report.steps, "seconds_a_step": found.report.seconds / found.report.steps,
            }  # fmt: skip
            study.keep(key, {name: found.after.metrics[name] for name in METRICS} | numbers)
        rows.setdefault(arm, []).append(study.found[key])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=1, help="of the part whole")
    parser.add_argument("--json", type=Path)
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
        show(f"test styles, the whole network, batch size {FIXED}", whole(study, seeds, loss))
    if "time" in options.parts:
        for batch in BATCHES:
            found = times(study, loss, batch)
            print(f"ms a step, batch size {batch}:", *(f"{arm} {value:.1f}" for arm, value in found.items()), sep="  ")


if __name__ == "__main__":
    main()

"""One training of acbn_real.py: the last stages of a network on cached blocks, with a memory or without."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fashreg_acbn import drift as meter
from products import CUT, VIEWS, Classes, new_encoder
from study import Numbers
from torch import Tensor

import fashreg
from fashreg.jobs.evaluation import evaluate_vectors

START, WARMUP = 50, 20
LOSS_SPECS: dict[str, Any] = {"contrastive over pairs": {"name": "contrastive", "normaliser": "pairs"}}
PLAIN = {"unbiased": False, "min_effective": 1.0}  # the options of "xbn-plain"
METRICS = ("recall@1", "recall@10", "map@r")
DRIFT = ("distance", "mean_gap", "std_gap", "correctable")


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


class Training:
    """One cell's network, loss, memory, batches and optimiser, and the steps taken with them."""

    def __init__(self, classes: Classes, cell: Cell, steps: int, stored: Tensor | None = None) -> None:
        self.cell, self.steps, (self.table, self.judged) = cell, steps, classes.parts[cell.judged]
        self.stored = classes.blocks(self.table) if stored is None else stored  # (N, VIEWS, C, h, w)
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


def train(classes: Classes, cell: Cell, steps: int) -> Numbers:
    """Train one cell and judge it."""
    run, drift, seconds = Training(classes, cell, steps), {}, 0.0
    for step in range(1, steps + 1):
        seconds += run.step()
        if run.memory is not None and step in (steps // 4, steps // 2, steps):
            drift[str(step)] = drift_of(run.encoder, run.memory, run.stored, run.seen)
    vectors = run.encoder.embed(classes.judged_blocks(run.judged), stage=CUT)
    found = evaluate_vectors(vectors, run.judged, [fashreg.build("evaluator", "retrieval")])
    numbers = {name: found.metrics[name] for name in METRICS}
    return {
        **numbers, "intervals": {name: found.intervals[name] for name in METRICS}, "drift": drift,
        "seconds_a_step": seconds / steps,
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

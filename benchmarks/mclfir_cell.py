"""One training of mclfir_real.py: a method learns a stream of attributes (or of values) and is judged after each.

The learners are the plugin's own, bound to a Session over cached features; nothing of a method is written here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mclfir_data import ATTRIBUTES, FeatureSource, Products
from mclfir_judge import Judge, Matrix, Numbers, last_row, rounded, untrained
from products import CUT

import fashreg
from fashreg.config_trainer import TrainerConfig
from fashreg.training.interleaved import InterleavedSource
from fashreg.training.session import Session
from fashreg.values import Experience

PAIRS, BATCH, EPOCHS, STAGES, WARMUP = 400, 32, 4, 5, 10
INFONCE = {"name": "infonce", "mode": "pairs", "negatives": "both", "temperature": 0.3, "mask_same_value": True}
SAMPLER = {"name": "pairs", "anchors": "balanced", "pairs": PAIRS}
Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Method:
    """A row of the tables. head: one for each attribute, a network for each ("own", mode "independent"), or one for all
    ("single"). stretch: times the usual budget of optimiser steps (joint training). loss: changes of INFONCE, or
    another loss. trainer: other settings of the trainer.
    """

    name: str
    learner: str
    options: Settings = ()
    head: str = "each"
    stretch: float = 1.0
    loss: Settings = ()
    trainer: Settings = ()


@dataclass(frozen=True)
class Cell:
    """One training. chosen: what was chosen for the method (lr and its own weight). increments: how many are learnt."""

    method: Method
    chosen: Settings
    order: tuple[str, ...] = ATTRIBUTES
    seed: int = 0
    judged: str = "test"
    by: str = "attribute"
    scale: float = 1.0  # of the epochs

    @property
    def key(self) -> str:
        said = ", ".join(f"{name} {value:g}" for name, value in self.chosen)
        order = " > ".join(name[:3] for name in self.order) if self.by == "attribute" else "values"
        longer = "" if self.scale == 1 else f", x{self.scale:g}"
        return f"{self.method.name} ({said}), {order}, seed {self.seed}, {self.judged}{longer}"


def new_encoder(method: Method) -> fashreg.Encoder:
    """EfficientNet-Lite0 with ImageNet weights and no task yet; the first stages come from the cache."""
    lite = {"name": "lite0", "image_size": 128}
    attention = {"name": "attribute-attention", "in_dim": 1280, "out_dim": 128}
    if method.head == "own":
        backbone = fashreg.build("backbone", {"name": "truncated", "backbone": lite, "keep": CUT})
        width = backbone.map_dim
        pattern = {"name": "own-network", "backbone": lite, "head": attention, "start": CUT, "in_dim": width}
    else:
        backbone, pattern = fashreg.build("backbone", lite), attention
    if method.head == "single":
        return fashreg.Encoder(backbone, fashreg.build("head", attention))
    head = fashreg.build("head", {"name": "multi-task", "tasks": [], "head": pattern})
    return fashreg.Encoder(backbone, head)


def learner_of(cell: Cell) -> Numbers:
    """The learner as a recipe writes it."""
    chosen = {name: value for name, value in cell.chosen if name != "lr"}
    return {"name": cell.method.learner, **dict(cell.method.options), **chosen}


def loss_of(method: Method) -> Numbers:
    """The loss as a recipe writes it."""
    changed = dict(method.loss)
    return changed if "name" in changed else INFONCE | changed


def trainer_of(cell: Cell) -> Numbers:
    """The trainer as a recipe writes it: epochs stretched to the budget; a part of one is a number of steps."""
    epochs = EPOCHS * cell.method.stretch * cell.scale
    steps = {} if epochs == round(epochs) else {"max_steps": round(epochs * len(cell.order) * (2 * PAIRS // BATCH))}
    return {
        "epochs": math.ceil(epochs), "batch_size": BATCH, "lr": dict(cell.chosen)["lr"], "warmup_steps": WARMUP,
        "checkpoint_every": 0, "evaluate_every": 0, "log_every": 1000, **steps, **dict(cell.method.trainer),
    }  # fmt: skip


def stream_of(products: Products, cell: Cell) -> list[Experience]:
    """The experiences of a cell: attributes in its order, or the values of article_type in STAGES stages."""
    if cell.by == "attribute":
        return [Experience(name, products.training(name), task=name) for name in cell.order]
    return [
        Experience(f"stage-{t + 1}", products.training("article_type", values), task=f"stage-{t + 1}")
        for t, values in enumerate(stages_of(products))
    ]


def stages_of(products: Products) -> list[list[int]]:
    """Values of article_type by stage: in alphabetical order, dealt in turn."""
    every = range(len(products.values["article_type"]))
    return [list(every)[start::STAGES] for start in range(STAGES)]


class Training:
    """A learner on its way through a stream."""

    def __init__(self, products: Products, cell: Cell) -> None:
        torch.manual_seed(cell.seed)
        method = cell.method
        self.products, self.cell, self.encoder = products, cell, new_encoder(method)
        if method.head != "single":
            self.encoder.head.seed = cell.seed  # of the heads that the learner adds
        self.learner = fashreg.build("learner", learner_of(cell))
        loss, seed = fashreg.build("loss", loss_of(method)), cell.seed
        self.session = Session(self.encoder, loss, self.source, trainer=self.trainer(), seed=seed, quiet=True)
        self.learner.bind(self.session)

    def trainer(self) -> TrainerConfig:
        """With the first stages frozen."""
        return TrainerConfig(freeze=CUT, **trainer_of(self.cell))

    def source(self, experience: Experience, frozen: Any, processes: Any) -> Any:
        """In-memory batches of an experience (fashreg.training.session.MakeSource)."""
        if experience.parts:
            return InterleavedSource(
                [self.source(part, frozen, processes) for part in experience.parts], self.cell.seed
            )
        table = experience.train
        labels, seed = torch.from_numpy(table.labels), self.cell.seed
        sampler = fashreg.build("sampler", SAMPLER, labels=labels, batch_size=BATCH, seed=seed)
        twice = "second_view" in getattr(self.learner, "needs", ())
        return FeatureSource(self.products, table, sampler, experience.task, self.cell.seed, twice)

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Learn one experience after the other; the number learnt so far and the report of each."""
        stream = stream_of(self.products, self.cell)
        if getattr(self.learner, "whole_stream", False):
            yield len(stream), self.learner.learn(Experience("all", None, parts=tuple(stream)))
            return
        for t, experience in enumerate(stream, 1):
            yield t, self.learner.learn(experience)


def train(products: Products, cell: Cell) -> Numbers:
    """Train one cell and judge it after every increment."""
    training = Training(products, cell)
    judge = Judge(products, cell.order, cell.judged)
    record = by_attribute(training, judge) if cell.by == "attribute" else by_value(training, judge)
    parameters = sum(value.numel() for value in training.encoder.state_dict().values())
    return {**record, "parameters": parameters}


def by_attribute(training: Training, judge: Judge) -> Numbers:
    """A row of the matrix after each increment."""
    later = Judge(training.products, judge.order, "validation") if judge.split == "test" else None
    matrix = Matrix(judge, later)
    for learnt, report in training.rows():
        matrix.see(training.encoder, learnt, report)
    return matrix.record(training.encoder)


def by_value(training: Training, judge: Judge) -> Numbers:
    """Row t: all heads so far side by side, candidates of all values so far; column a: the queries of stage a."""
    stages, products = stages_of(training.products), training.products
    matrix = np.full((STAGES, STAGES), np.nan)
    costs: list[Numbers] = []
    for learnt, report in training.rows():
        costs.append(dict(report.cost) | {"seconds": report.seconds})
        seen = [value for stage in stages[:learnt] for value in stage]
        asked = products.asked("article_type", judge.split, seen)
        heads = judge.embedded(training.encoder, training.encoder.head.tasks[:learnt])
        vectors = torch.cat(list(heads.values()), 1) / math.sqrt(len(heads))
        found = judge.answer(asked, vectors)
        for a in range(learnt):
            matrix[learnt - 1, a] = found.precision[np.isin(asked.query_codes, stages[a])].mean()
    rows = matrix if len(costs) > 1 else matrix[-1:]
    return {"map": rounded(rows), "cost": costs, **last_row({"article_type": found}, {"article_type": asked})}


def zero_shot(products: Products, cell: Cell) -> Numbers:
    """The pooled ImageNet features, nothing trained."""
    encoder, judge = new_encoder(cell.method), Judge(products, cell.order, cell.judged)
    return untrained(judge, encoder.backbone, judge.features, CUT)


def timed(products: Products, cell: Cell) -> Numbers:
    """The numbers of a cell, and the seconds that all of it took."""
    started = time.perf_counter()
    made = zero_shot(products, cell) if cell.method.learner == "none" else train(products, cell)
    return {**made, "wall": round(time.perf_counter() - started, 1)}


def shortened(cell: Cell) -> Cell:
    """The first two increments, judged on validation: what choices are made by."""
    return replace(cell, order=cell.order[:2], judged="validation")

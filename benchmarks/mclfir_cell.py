"""One training of mclfir_real.py: a method learns a stream of attributes (or of values) and is judged after each.

The learners are the plugin's own, bound to a Session over cached features; nothing of a method is written here.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mclfir_data import ATTRIBUTES, Answer, Array, Asked, FeatureSource, Products, judged
from products import CUT
from torch import Tensor

import fashreg
from fashreg.config_trainer import TrainerConfig
from fashreg.training.interleaved import InterleavedSource
from fashreg.training.session import Session
from fashreg.values import Experience

PAIRS, BATCH, EPOCHS, STAGES, WARMUP = 400, 32, 4, 5, 10
INFONCE = {"name": "infonce", "mode": "pairs", "negatives": "both", "temperature": 0.3, "mask_same_value": True}
Numbers = dict[str, Any]
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
        options = dict(method.options) | {k: v for k, v in cell.chosen if k != "lr"}
        self.learner = fashreg.build("learner", {"name": method.learner, **options})
        changed = dict(method.loss)
        loss = changed if "name" in changed else INFONCE | changed
        self.session = Session(
            self.encoder, fashreg.build("loss", loss), self.source, trainer=self.trainer(), seed=cell.seed, quiet=True,
        )  # fmt: skip
        self.learner.bind(self.session)

    def trainer(self) -> TrainerConfig:
        """Epochs stretched to the method's budget; a part of an epoch is a number of steps."""
        cell = self.cell
        epochs = EPOCHS * cell.method.stretch * cell.scale
        steps = {} if epochs == round(epochs) else {"max_steps": round(epochs * len(cell.order) * (2 * PAIRS // BATCH))}
        return TrainerConfig(
            epochs=math.ceil(epochs), batch_size=BATCH, lr=dict(cell.chosen)["lr"], freeze=CUT, warmup_steps=WARMUP,
            checkpoint_every=0, evaluate_every=0, log_every=1000, **steps, **dict(cell.method.trainer),
        )  # fmt: skip

    def source(self, experience: Experience, frozen: Any, processes: Any) -> Any:
        """In-memory batches of an experience (fashreg.training.session.MakeSource)."""
        if experience.parts:
            return InterleavedSource(
                [self.source(part, frozen, processes) for part in experience.parts], self.cell.seed
            )
        table = experience.train
        sampler = fashreg.build(
            "sampler", {"name": "pairs", "anchors": "balanced", "pairs": PAIRS},
            labels=torch.from_numpy(table.labels), batch_size=BATCH, seed=self.cell.seed,
        )  # fmt: skip
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


class Judge:
    """Queries and candidates of a cell, embedded with the encoder as it stands."""

    def __init__(self, products: Products, cell: Cell) -> None:
        self.products, self.cell = products, cell
        split = "validation" if cell.judged == "validation" else "test"
        self.split = split
        self.asked: dict[str, Asked] = {name: products.asked(name, split) for name in cell.order}
        wanted = [part for asked in self.asked.values() for part in (asked.queries, asked.candidates)]
        self.pictures = np.unique(np.concatenate(wanted))

    @cached_property
    def features(self) -> Tensor:
        """What the frozen stages make of the pictures that are asked for or searched."""
        return self.products.features[torch.from_numpy(self.pictures), 0]

    def embedded(self, encoder: fashreg.Encoder, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(N, D) of every task, in one pass of the trunk; a head without tasks answers all alike."""
        if not encoder.head.tasks:
            return dict.fromkeys(tasks, encoder.embed(self.features, stage=CUT, batch_size=128))
        return encoder.embed_tasks(self.features, tasks, stage=CUT, batch_size=128)

    def answer(self, asked: Asked, new: Tensor, old: Tensor | None = None) -> Answer:
        """Queries embedded as `new`, candidates as `old` (or as the queries)."""
        gallery = new if old is None else old
        return judged(new[self.places(asked.queries)], gallery[self.places(asked.candidates)], asked)

    def places(self, positions: Array) -> Tensor:
        return torch.from_numpy(np.searchsorted(self.pictures, positions))


def train(products: Products, cell: Cell) -> Numbers:
    """Train one cell and judge it after every increment."""
    training = Training(products, cell)
    judge = Judge(products, cell)
    record = by_attribute(training, judge) if cell.by == "attribute" else by_value(training, judge)
    parameters = sum(value.numel() for value in training.encoder.state_dict().values())
    return {**record, "parameters": parameters}


def by_attribute(training: Training, judge: Judge) -> Numbers:
    """M[t, a], its last row in full, costs, and old galleries asked by the newest queries."""
    order, encoder = training.cell.order, training.encoder
    matrix = np.full((len(order), len(order)), np.nan)
    costs: list[Numbers] = []
    answers: dict[str, Answer] = {}
    galleries: dict[str, Tensor] = {}
    for learnt, report in training.rows():
        costs.append(dict(report.cost) | {"seconds": report.seconds})
        vectors = judge.embedded(encoder, order[:learnt])
        answers = {name: judge.answer(judge.asked[name], vectors[name]) for name in order[:learnt]}
        for a, name in enumerate(order[:learnt]):
            matrix[learnt - 1, a] = answers[name].precision.mean()
            galleries.setdefault(name, vectors[name])
        if learnt < len(order) and encoder.head.tasks:
            ahead = judge.answer(judge.asked[order[learnt]], fresh(training, judge, learnt))
            matrix[learnt - 1, learnt] = ahead.precision.mean()
    rows = matrix if len(costs) > 1 else matrix[-1:]
    olds = order[:-1] if len(costs) > 1 else ()
    old = {name: crossed(judge, name, galleries[name], vectors[name]) for name in olds}
    record = {"map": rounded(rows), "cost": costs, "old gallery": old, **last_row(answers, judge.asked)}
    if judge.split == "test":
        record["validation"] = at_the_end(training.products, replace(training.cell, judged="validation"), encoder)
    return record


def at_the_end(products: Products, cell: Cell, encoder: fashreg.Encoder) -> dict[str, float]:
    """MAP by attribute on other pictures."""
    judge = Judge(products, cell)
    vectors = judge.embedded(encoder, cell.order)
    return {name: mean(judge.answer(judge.asked[name], vectors[name]).precision) for name in cell.order}


def fresh(training: Training, judge: Judge, learnt: int) -> Tensor:
    """The next attribute's vectors with a head that has learnt nothing, on the encoder as it stands."""
    encoder, name = training.encoder, training.cell.order[learnt]
    head = copy.deepcopy(encoder.head)
    head.add_task(name)
    kept, encoder.head = encoder.head, head
    try:
        return judge.embedded(encoder, [name])[name]
    finally:
        encoder.head = kept


def crossed(judge: Judge, name: str, old: Tensor, new: Tensor) -> Numbers:
    """MAP and recall@1 of old queries on the old gallery, new on old, and new on new."""
    asked = judge.asked[name]
    pairs = {"old/old": (old, old), "new/old": (new, old), "new/new": (new, new)}
    found = {kind: judge.answer(asked, queries, gallery) for kind, (queries, gallery) in pairs.items()}
    return {kind: [mean(answer.precision), mean(answer.hits[1])] for kind, answer in found.items()}


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


def last_row(answers: dict[str, Answer], asked: dict[str, Asked]) -> Numbers:
    """What is kept of the last answers: recalls, means with one voice a value, chance, and the precisions by query."""
    return {
        "recall@1": {name: mean(found.hits[1]) for name, found in answers.items()},
        "recall@10": {name: mean(found.hits[10]) for name, found in answers.items()},
        "balanced": {name: balanced(found.precision, asked[name].query_codes) for name, found in answers.items()},
        "chance": {name: mean(found.chance) for name, found in answers.items()},
        "precision": {name: np.round(1e4 * found.precision).astype(int).tolist() for name, found in answers.items()},
    }


def balanced(precision: Array, codes: Array) -> float:
    """The mean over values of the mean over their queries."""
    return mean(np.array([precision[codes == value].mean() for value in np.unique(codes)]))


def mean(values: Array) -> float:
    return round(float(values.mean()), 5)


def rounded(matrix: Array) -> list[list[float | None]]:
    return [[None if math.isnan(value) else round(float(value), 5) for value in row] for row in matrix]


def zero_shot(products: Products, cell: Cell) -> Numbers:
    """The pooled ImageNet features, nothing trained."""
    encoder, judge = new_encoder(cell.method), Judge(products, cell)
    with torch.inference_mode(), encoder.evaluating():
        backbone = encoder.backbone
        parts = [
            backbone.pool(backbone.run_stages(part, CUT, len(backbone.stages))) for part in judge.features.split(128)
        ]
    vectors = torch.nn.functional.normalize(torch.cat(parts))
    answers = {name: judge.answer(judge.asked[name], vectors) for name in cell.order}
    matrix = np.array([[answers[name].precision.mean() for name in cell.order]])
    return {"map": rounded(matrix), "cost": [], "old gallery": {}, "parameters": 0, **last_row(answers, judge.asked)}


def timed(products: Products, cell: Cell) -> Numbers:
    """The numbers of a cell, and the seconds that all of it took."""
    started = time.perf_counter()
    made = zero_shot(products, cell) if cell.method.learner == "none" else train(products, cell)
    return {**made, "wall": round(time.perf_counter() - started, 1)}


def shortened(cell: Cell) -> Cell:
    """The first two increments, judged on validation: what choices are made by."""
    return replace(cell, order=cell.order[:2], judged="validation")

"""Who asks and what is written down: the judge of a cell of mclfir_real.py, its accuracy matrix and its last row."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mclfir_data import Answer, Array, Asked, Products, judged
from products import CUT
from torch import Tensor

import fashreg
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.transforms import evaluation_transform

Numbers = dict[str, Any]


class Judge:
    """Queries and candidates of a cell, embedded with the encoder as it stands."""

    def __init__(self, products: Products, order: Sequence[str], judged: str) -> None:
        self.products, self.order, self.split = products, tuple(order), judged
        self.asked: dict[str, Asked] = {name: products.asked(name, judged) for name in order}
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


class PictureJudge(Judge):
    """The same questions, from the pictures themselves: for an encoder that trained with nothing frozen."""

    kept: Tensor | None = None

    def prepared(self, spec: Any) -> Tensor:
        """(N, 3, H, W), decoded once."""
        if self.kept is None:
            data = TableDataset(self.products.table.take(self.pictures), evaluation_transform(spec))
            batches = training_batches(data, [part.tolist() for part in torch.arange(len(data)).split(64)], workers=0)
            self.kept = torch.cat([batch.images.contiguous() for batch in batches]).clone()
        return self.kept

    def embedded(self, encoder: fashreg.Encoder, tasks: Sequence[str]) -> dict[str, Tensor]:
        """(N, D) of every task, in one pass of the trunk."""
        return encoder.embed_tasks(self.prepared(encoder.input_spec), tasks, batch_size=64)


class Matrix:
    """M[t, a], its last row in full, costs, and old galleries asked by the newest queries.

    later: a judge of other pictures (validation), asked at the end alone.
    """

    def __init__(self, judge: Judge, later: Judge | None = None) -> None:
        self.judge, self.later, self.order = judge, later, judge.order
        self.map = np.full((len(self.order), len(self.order)), np.nan)
        self.costs: list[Numbers] = []
        self.answers: dict[str, Answer] = {}
        self.galleries: dict[str, Tensor] = {}
        self.vectors: dict[str, Tensor] = {}

    def see(self, encoder: fashreg.Encoder, learnt: int, report: Any) -> None:
        """A row, now that the first `learnt` attributes were learnt."""
        judge, order = self.judge, self.order
        self.costs.append(dict(report.cost) | {"seconds": report.seconds})
        coming = order[learnt] if learnt < len(order) and encoder.head.tasks else None
        self.vectors = with_untrained(encoder, judge, order[:learnt], coming)
        self.answers = {name: judge.answer(judge.asked[name], self.vectors[name]) for name in order[:learnt]}
        for a, name in enumerate(order[:learnt]):
            self.map[learnt - 1, a] = self.answers[name].precision.mean()
            self.galleries.setdefault(name, self.vectors[name])
        if coming is not None:
            self.map[learnt - 1, learnt] = judge.answer(judge.asked[coming], self.vectors[coming]).precision.mean()

    def record(self, encoder: fashreg.Encoder) -> Numbers:
        """All of it as plain data, at the end."""
        several, judge = len(self.costs) > 1, self.judge
        olds = self.order[:-1] if several else ()
        old = {name: crossed(judge, name, self.galleries[name], self.vectors[name]) for name in olds}
        rows = self.map if several else self.map[-1:]
        record = {"map": rounded(rows), "cost": self.costs, "old gallery": old, **last_row(self.answers, judge.asked)}
        if self.later is not None:
            vectors = self.later.embedded(encoder, self.order)
            asked = self.later.asked
            record["validation"] = {
                name: mean(self.later.answer(asked[name], vectors[name]).precision) for name in self.order
            }
        return record


def with_untrained(
    encoder: fashreg.Encoder, judge: Judge, learnt: Sequence[str], coming: str | None
) -> dict[str, Tensor]:
    """Vectors of what was learnt, and of what comes next by an untrained head, in one pass of the trunk."""
    if coming is None:
        return judge.embedded(encoder, learnt)
    head = copy.deepcopy(encoder.head)
    head.add_task(coming)
    kept, encoder.head = encoder.head, head
    try:
        return judge.embedded(encoder, [*learnt, coming])
    finally:
        encoder.head = kept


@torch.inference_mode()
def untrained(judge: Judge, backbone: Any, incoming: Tensor, stage: int) -> Numbers:
    """The record of the backbone's pooled features. incoming: what goes into `stage`."""
    backbone.eval()
    parts = [backbone.pool(backbone.run_stages(part, stage, len(backbone.stages))) for part in incoming.split(128)]
    vectors = torch.nn.functional.normalize(torch.cat(parts))
    answers = {name: judge.answer(judge.asked[name], vectors) for name in judge.order}
    matrix = np.array([[answers[name].precision.mean() for name in judge.order]])
    return {"map": rounded(matrix), "cost": [], "old gallery": {}, "parameters": 0, **last_row(answers, judge.asked)}


def crossed(judge: Judge, name: str, old: Tensor, new: Tensor) -> Numbers:
    """MAP and recall@1 of old queries on the old gallery, new on old, and new on new."""
    asked = judge.asked[name]
    pairs = {"old/old": (old, old), "new/old": (new, old), "new/new": (new, new)}
    found = {kind: judge.answer(asked, queries, gallery) for kind, (queries, gallery) in pairs.items()}
    return {kind: [mean(answer.precision), mean(answer.hits[1])] for kind, answer in found.items()}


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

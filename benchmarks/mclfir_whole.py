"""A cell of mclfir_real.py end to end: fashreg.train with a stream, from pictures of few pixels, nothing frozen.

Training is the product's own, as `fashreg train` does it (loader, augmentation, session, stream). What is added is a
look at the model whenever an experience is over, so that the questions of mclfir_data.py are asked here, too, and the
numbers are those of every other cell. The product's own matrix is over all test pictures it is given; to save time it
is given one in EIGHTH, and its numbers are not used.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from mclfir_cell import SAMPLER, Cell, learner_of, loss_of, trainer_of
from mclfir_data import ATTRIBUTES, Products
from mclfir_judge import Matrix, Numbers, PictureJudge, untrained

import fashreg
from fashreg.values import Experience

EIGHTH = 8


def recipe_of(cell: Cell, size: int) -> Numbers:
    """The cell as a recipe: the network at `size` pixels, with a head for each attribute to come."""
    head = {"name": "attribute-attention", "out_dim": 128}
    return {
        "data": {"attributes": list(cell.order), "label": None, "decoded": True, "workers": 0},
        "stream": {"order": list(cell.order)},
        "backbone": {"name": "lite0", "image_size": size},
        "head": {"name": "multi-task", "tasks": [], "head": head},
        "loss": loss_of(cell.method),
        "memory": None,
        "sampler": SAMPLER,
        "learner": learner_of(cell),
        "evaluators": ["attribute-retrieval"],
        "trainer": trainer_of(cell),
        "seed": cell.seed,
    }


def rows_of(products: Products) -> pd.DataFrame:
    """Training pictures, and a few test pictures; values that the study leaves out are empty."""
    frame = pd.DataFrame({"image": products.table.paths, "split": products.split})
    for name in ATTRIBUTES:
        named = np.array([*products.values[name], ""], dtype=object)
        frame[name] = named[products.codes[name]]
    test = np.flatnonzero(products.split == "test")[::EIGHTH]
    return frame.iloc[np.sort(np.concatenate([np.flatnonzero(products.split == "train"), test]))]


@cache
def judge_of(products: Products, order: tuple[str, ...], split: str) -> PictureJudge:
    """One for all cells of a process: it keeps the prepared pictures."""
    return PictureJudge(products, order, split)


def whole(products: Products, cell: Cell, size: int) -> Numbers:
    """The numbers of a cell, and the seconds that all of it took."""
    started = time.perf_counter()
    if cell.method.learner == "none":
        backbone: Any = fashreg.build("backbone", "lite0", image_size=size)
        judge = judge_of(products, cell.order, cell.judged)
        return {**untrained(judge, backbone, judge.prepared(backbone.input_spec), 0), "wall": 0.0}
    later = judge_of(products, cell.order, "validation") if cell.judged == "test" else None
    matrix = Matrix(judge_of(products, cell.order, cell.judged), later)
    recipe = recipe_of(cell, size)
    learner: Any = fashreg.build("learner", recipe["learner"])
    learn = learner.learn

    def watched(experience: Experience) -> Any:
        report = learn(experience)
        learnt = len(cell.order) if experience.parts else 1 + cell.order.index(experience.name)
        matrix.see(learner.session.encoder, learnt, report)
        return report

    learner.learn = watched
    run = fashreg.train(recipe, table=rows_of(products), learner=learner, quiet=True)
    parameters = sum(value.numel() for value in run.encoder.state_dict().values())
    numbers = {**matrix.record(run.encoder), "parameters": parameters}
    return {**numbers, "wall": round(time.perf_counter() - started, 1)}


def key_of(cell: Cell, size: int) -> str:
    """What the JSON file calls it."""
    return f"whole, {size} px: {cell.key}"

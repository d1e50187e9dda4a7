"""A small drawn shop with known faults, its evaluation, a run folder around it, and a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from browser import Browser
from drawn_shop import CLASSES, EACH, TWICE, WRONG, drawn

from fashreg.config_data import DataConfig
from fashreg.data.table import read_table
from fashreg.evaluators.retrieval import RetrievalEvaluator
from fashreg.jobs.evaluation import Asking, evaluate_vectors
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of 5 classes in a table; see TWICE and WRONG."""
    folder = tmp_path_factory.mktemp("shop")
    rows = []
    for row in range(len(CLASSES) * EACH):
        kind, view = divmod(row, EACH)
        shape = TWICE[0] if row == TWICE[1] else row
        drawn(*divmod(shape, EACH)).save(folder / f"{row}.png")
        label = CLASSES[0] if row == WRONG else CLASSES[kind]
        rows.append({"image": f"{row}.png", "style": label, "colour": ("red", "green", "blue")[view % 3]})
    pd.DataFrame(rows).to_csv(folder / "shop.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def evaluation(shop: Path) -> Evaluation:
    """The shop measured with vectors that point where the drawn shape says, not where the label says."""
    config = DataConfig(table=str(shop / "shop.csv"), label="style", attributes=["colour"])
    table = read_table(str(shop / "shop.csv"), config)
    random = torch.Generator().manual_seed(4)
    shapes = torch.arange(len(table)) // EACH
    vectors = 0.12 * torch.randn(len(table), 16, generator=random)
    vectors[torch.arange(len(table)), shapes] += 1.0
    vectors[TWICE[1]] = vectors[TWICE[0]]
    asking = Asking(slices=("colour",))
    unit = torch.nn.functional.normalize(vectors)
    return evaluate_vectors(unit, table, [RetrievalEvaluator()], config=config, asking=asking)


@pytest.fixture
def run(tmp_path: Path, evaluation: Evaluation) -> Path:
    """A finished run folder: recipe, log of two epochs, results, environment, evaluation."""
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    recipe = "backbone: {name: lite0, image_size: 64}\nhead: {name: projection, out_dim: 16}\nloss: {name: triplet}\n"
    (folder / "recipe.yaml").write_text(
        recipe + "data: {table: shop.csv, label: style}\ntrainer: {epochs: 2}\nseed: 7\n"
    )
    steps = [
        {"kind": "train", "experience": "train", "step": s, "epoch": 0, "loss": 2.0 / s, "lr": 0.01}
        for s in range(1, 9)
    ]  # fmt: skip
    checks = [
        {"kind": "evaluation", "experience": "train", "epoch": e, "metrics": {"map@r": 0.3 * e}, "best": True}
        for e in (1, 2)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (*steps, *checks)))
    after = evaluation.as_dict()
    before = {**after, "metrics": dict.fromkeys(after["metrics"], 0.1)}
    training = {"steps": 8, "epochs": 2.0, "images": 96, "seconds": 3.0, "images_per_second": 32.0}
    (folder / "results.json").write_text(json.dumps({"before": before, "after": after, "training": training}))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11.7", "libraries": {"torch": "2.15.0"}}))
    save_evaluation(evaluation, folder / "evaluation")
    return folder

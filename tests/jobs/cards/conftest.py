"""A model, and its evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from card_front import PROTOCOL, RECIPE
from PIL import Image

from fashreg.jobs.evaluation_result import Evaluation, Neighbours, PerQuery
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import tiny_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    said = {
        "loss": {"name": "triplet", "plugin": "fashreg", "version": "0.1.0", "config": {"margin": 0.2}},
        "data": {"table": "t.csv", "train": {"pictures": 36, "sha256": "a" * 64}},
        "environment": {"fashreg": "0.1.0", "torch": "2.9"},
    }
    return save_encoder(tiny_encoder(), tmp_path / "model", recipe=RECIPE, metrics={"recall@1": 0.4}, provenance=said)


@pytest.fixture
def measured(tmp_path: Path, model: Path) -> Evaluation:
    """Eight queries with pictures; every second one is answered rightly."""
    items = []
    for number in range(8):
        path = tmp_path / "pictures" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (30 * number, 200, 90)).save(path)
        items.append({"id": number, "image": str(path), "label": f"style {number // 2}", "attributes": {}})
    ids = torch.arange(8)
    hits = (ids % 2).double()
    near = torch.stack([ids.roll(-1), ids.roll(-2), torch.full_like(ids, -1)], 1)
    return Evaluation(
        metrics={"map@r": 0.512345678, "recall@1": 0.5, "map[neck line]": 0.25, "odd": float("nan")},
        primary="recall@1",
        protocol=PROTOCOL,
        counts={"queries": 8, "gallery": 8, "queries_without_relevant": 1},
        intervals={"recall@1": (0.2, 0.8)},
        slices={
            "category": {
                "dress": {"recall@1": 0.9, "support": 40},
                "scarf": {"recall@1": 0.1, "support": 6},
                "hat": {"recall@1": 0.0, "support": 1},
            }
        },
        model={"fingerprint": load_encoder(model).fingerprint()},
        per_query=PerQuery(ids, {"recall@1": hits}),
        neighbours=Neighbours(ids, near, torch.linspace(1, 0, 3).repeat(8, 1)),
        items=items,
    )

"""What the first run learns."""

from __future__ import annotations

from typing import Any

RECIPE: dict[str, Any] = {
    "data": {"attributes": ["category", "colour"]},
    "stream": {"by": "attribute"},
    "backbone": {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": 32},
    "head": {"name": "multi-task", "tasks": [], "out_dim": 8},
    "loss": {"name": "infonce", "mode": "pairs"},
    "sampler": {"name": "pairs"},
    "evaluators": ["attribute-retrieval"],
    "trainer": {"epochs": 1, "batch_size": 16, "lr": 0.01},
}

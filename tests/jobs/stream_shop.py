"""A shop whose pictures show two attributes that a toy network learns in seconds: colour, and stripes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

SIDE = 32
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 200), "white": (230, 230, 230)}
STRIPES = ("across", "along", "none")
SIZES = ("s", "m")


def stream_shop(folder: Path, each: int = 4) -> pd.DataFrame:
    """`each` pictures of every colour and stripes: half to train on, a quarter to validate, a quarter to judge.

    size is unknown in every third row.
    """
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for colour, stripes in product(COLOURS, STRIPES):
        for number in range(each):
            name = f"{colour}-{stripes}-{number}.png"
            Image.fromarray(_picture(colour, stripes, random)).save(folder / name)
            size = "" if len(rows) % 3 == 2 else SIZES[len(rows) % 2]
            split = ("train", "train", "validation", "test")[number % 4]
            rows.append(
                {"image": str(folder / name), "colour": colour, "stripes": stripes, "size": size, "split": split}
            )
    return pd.DataFrame(rows)


def _picture(colour: str, stripes: str, random: np.random.Generator) -> Any:
    pixels = np.tile(np.array(COLOURS[colour], dtype=np.float64), (SIDE, SIDE, 1))
    dark = (np.arange(SIDE) // 4 % 2 == 0)[:, None, None] if stripes == "across" else False
    if stripes == "along":
        dark = (np.arange(SIDE) // 4 % 2 == 0)[None, :, None]
    pixels = np.where(dark, 0.4 * pixels, pixels) + random.normal(0, 12, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


def stream_recipe(**changes: Any) -> dict[str, Any]:
    """Two attributes, one after the other, two epochs each."""
    return {
        "data": {"attributes": ["colour", "stripes"], "label": None, "augment": {"name": "none"}, "workers": 0},
        "backbone": {"name": "timm", "model": "test_efficientnet", "weights": None, "image_size": SIDE},
        "head": {"name": "multi-task", "tasks": [], "head": {"name": "projection", "out_dim": 8}},
        "loss": {"name": "infonce", "mode": "pairs", "negatives": "both", "temperature": 0.3},
        "sampler": {"name": "pairs", "anchors": "balanced"},
        "evaluators": ["attribute-retrieval"],
        "trainer": {"epochs": 2, "batch_size": 8, "lr": 0.01, "checkpoint_steps": 2},
        "stream": {},
        **changes,
    }

"""Tiny pictures and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashreg.data.table import Table, read_table

Shop = Callable[..., pd.DataFrame]


def draw(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> Path:
    """A picture of random blocks, smooth enough for JPEG."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Draws `classes` x `each` pictures into tmp_path/pictures and gives a frame with image, label and split."""

    def make(classes: int = 3, each: int = 4, *, suffix: str = "png", split: bool = True) -> pd.DataFrame:
        rows = []
        for number in range(classes * each):
            name = f"pictures/{number:03d}.{suffix}"
            draw(tmp_path / name, number, (40 + number % 3, 30))
            rows.append((name, f"style {number // each}", "test" if number // each == classes - 1 else "train"))
        frame = pd.DataFrame(rows, columns=["image", "label", "split"])
        return frame if split else frame.drop(columns="split")

    return make


@pytest.fixture
def table(shop: Shop, tmp_path: Path) -> Table:
    """Twelve pictures of three classes."""
    return read_table(shop(), {"root": str(tmp_path)})

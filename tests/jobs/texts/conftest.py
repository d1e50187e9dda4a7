"""Tables of pictures with texts, and a toy that reads both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from text_rows import KINDS, PRODUCTS, TEXTS

from fashreg.data.table import read_table
from fashreg.testing.tiny_texts import tiny_text_encoder


@pytest.fixture(scope="session")
def encoder() -> Any:
    return tiny_text_encoder()


@pytest.fixture
def make(tmp_path):
    """A table of pictures of noise. columns: beside image; options: of the data section."""

    def made(columns: dict[str, list[Any]], **options: Any) -> Any:
        noise = np.random.default_rng(0)
        rows = len(next(iter(columns.values())))
        names = columns.pop("image", [f"{row}.png" for row in range(rows)])
        targets = {name for name in columns.get("wanted", []) if name}
        for name in dict.fromkeys([*names, *sorted(targets)]):
            Image.fromarray(noise.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
        frame = pd.DataFrame({"image": names, **columns})
        return read_table(frame, {"root": str(tmp_path), **options}, need_label=False)

    return made


@pytest.fixture
def shop(make):
    return make({"label": PRODUCTS, "text": TEXTS, "kind": KINDS}, text="text")

"""The shop as fixtures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from index_shop import N, built, picture

from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a table of 24 pictures of noise with columns."""
    root = tmp_path_factory.mktemp("shop")
    save_encoder(tiny_encoder(), root / "model")
    rows = [
        {
            "image": picture(root / f"{i}.png", i).name,
            "label": "ab"[i % 2],
            "category": ["dress", "skirt", "shirt"][i % 3],
            "price": f"{10 * i}.50",
            "sku": f"{i:03}",
        }
        for i in range(N)
    ]
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    more = [{**rows[0], "image": picture(root / f"m{i}.png", 100 + i).name, "sku": f"m{i}"} for i in range(5)]
    pd.DataFrame(more).to_csv(root / "more.csv", index=False)
    return root


@pytest.fixture
def index(shop: Path, tmp_path: Path) -> Path:
    built(shop, tmp_path / "index")
    return tmp_path / "index"

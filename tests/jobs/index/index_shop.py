"""A small shop: pictures of noise, a table that says things of them, a model, and an index of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fashreg.jobs.gallery import Gallery
from fashreg.jobs.indexing import build_index

N = 24


def picture(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


def built(shop: Path, out: Path, **options: Any) -> Gallery:
    options = {"keep": ["price", "sku"], "options": ["attributes=[category]"], "progress": False, **options}
    return build_index(shop / "model", shop / "table.csv", out, **options)


def skus(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["sku"] for hit in hits]


def state(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}

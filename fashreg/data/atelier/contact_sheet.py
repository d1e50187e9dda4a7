"""Many products on one picture: a row per product, a column per view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fashreg.data.atelier.design import product
from fashreg.data.atelier.scene import picture


def contact_sheet(path: str | Path, products: int = 24, views: int = 4, seed: int = 0, size: int = 160) -> Path:
    """Draws the first products of a set side by side, two products to a row."""
    strips = [
        np.concatenate([picture(product(number, seed), view, seed, size)[0] for view in range(views)], axis=1)
        for number in range(products + products % 2)
    ]
    rows = [np.concatenate(strips[i : i + 2], axis=1) for i in range(0, len(strips), 2)]
    Image.fromarray(np.concatenate(rows)).save(path)
    return Path(path)

"""DeepFashion2, consumer-to-shop: a garment photographed by a customer is looked for among those of shops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from fashreg.data.layouts.folder import Converted, Folder, Layout

_COLUMNS = [
    *("image", "label", "split", "is_query", "is_gallery", "x_1", "y_1", "x_2", "y_2"),
    *("category", "source", "pair", "style"),
]
_SPLITS = ("train", "validation")


def _read(folder: Folder) -> Converted:
    for split in _SPLITS:  # both, before the minutes of reading
        folder.find(f"{split}/annos")
        folder.find(f"{split}/image")
    rows = [row for split in _SPLITS for row in _rows(folder, split)]
    return Converted(pd.DataFrame(rows, columns=_COLUMNS), folder.path)


def _rows(folder: Folder, split: str) -> Iterator[tuple[Any, ...]]:
    """Garments of identified products in training; in validation all that ask, and all of the shops."""
    files = sorted((folder.path / split / "annos").glob("*.json"))
    if not files:
        raise folder.fail(folder.path / split / "annos", "it holds no annotation, such as 000001.json")
    for file in files:
        anno = folder.json(file, dict)
        source, pair = folder.fields(file, anno, "it", source=str, pair_id=int)
        if source not in ("user", "shop"):
            raise folder.fail(file, f'its source must be "user" or "shop", not "{source}"')
        for key in sorted(key for key in anno if key.startswith("item")):
            item = anno[key]
            style, category, box = folder.fields(file, item, key, style=int, category_name=str, bounding_box=list)
            query, known = source == "user" and split != "train", style > 0
            if not known and (split == "train" or query):
                continue
            label = f"{pair}-{style}" if known else f"{file.stem}-{key}"
            flags = (query, source == "shop" and split != "train")
            place = f"{split}/image/{file.stem}.jpg"
            yield (place, label, split, *flags, *_box(folder, file, box), category, source, str(pair), str(style))


def _box(folder: Folder, file: Path, box: list[Any]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; a box without area becomes one pixel wide, so that no query is lost."""
    if len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise folder.fail(file, "a bounding_box is not four numbers")
    (left, right), (top, bottom) = sorted((int(box[0]), int(box[2]))), sorted((int(box[1]), int(box[3])))
    left, top = max(left, 0), max(top, 0)
    return left, top, max(right, left + 1), max(bottom, top + 1)


LAYOUTS = (
    Layout(
        "deepfashion2-consumer-to-shop",
        "DeepFashion2, consumer-to-shop, annotated boxes",
        ("train/annos/", "train/image/", "validation/annos/", "validation/image/"),
        _read,
        "Ge et al., DeepFashion2, CVPR 2019, https://github.com/switchablenorms/DeepFashion2",
        evaluate="--split validation",
        note="One row per garment, cut out by its annotated box; the official challenge has the boxes detected first, "
        "so its numbers are others. Garments are the same product when pair and style agree and style > 0. Queries: "
        "customers' garments with style > 0 of the validation set; gallery: all its shop garments.",
        repeats=True,
    ),
)

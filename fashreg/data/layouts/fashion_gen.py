"""FashionGen as pre-processed JSON: pictures and texts of products, searched from one to the other.

A row is a picture with its product's text. `full`: all validation pictures and all their products' texts are searched.
`random-100`: each query has its own 101 candidates, one right and 100 of the same sub-category; they are drawn here,
from a seed, and stand in columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fashreg.data.atelier.dice import Dice
from fashreg.data.layouts.folder import Converted, Folder, Layout
from fashreg.errors import DataError

_COLUMNS = ["image", "label", "split", "is_query", "is_gallery", "text", "category", "sub_category"]
_SPLITS = {"train": "train", "val": "validation"}
DIRECTIONS = ("image-to-text", "text-to-image")
REPEATS, QUERIES, NEGATIVES, SEED = 5, 1000, 100, 0


def _full(folder: Folder) -> Converted:
    folder.find("train")
    folder.find("val")
    rows: list[tuple[Any, ...]] = []
    for part, split in _SPLITS.items():
        file = folder.find(f"{part}_info.json")
        for number, entry in enumerate(folder.json(file, list)):
            where, asked = f"entry {number}", split != "train"
            pictures, title, words = folder.fields(file, entry, where, images=list, title=str, description=str)
            product, category, sub = folder.fields(
                file, entry, where, id=int | str, category_id=int | str, subcategory_id=int | str
            )
            text = f"{title}.{words}"
            for picture in pictures:
                rows.append((f"{part}/{picture}", str(product), split, asked, asked, text, str(category), str(sub)))
    return Converted(pd.DataFrame(rows, columns=_COLUMNS), folder.path)


def _random_100(folder: Folder) -> Converted:
    whole = _full(folder)
    trials = draw_trials(whole.frame)
    return Converted(whole.frame.assign(**trials), whole.root)


def draw_trials(
    frame: pd.DataFrame,
    *,
    repeats: int = REPEATS,
    queries: int = QUERIES,
    negatives: int = NEGATIVES,
    seed: int = SEED,
) -> dict[str, list[str]]:
    """Columns `image-to-text 1`, ..., `text-to-image 5`: the candidates' row numbers, the right one first, or empty.

    frame: FashionGen's table; only its validation rows take part. A candidate stands for its product: for its text
    (image-to-text), or for that picture (text-to-image). `queries` rows ask, each of another product, or as many as
    there are products. Wrong candidates are of other products, all different, and of the query's sub-category; where
    that has too few, the rest are drawn from all products.
    """
    asked = np.flatnonzero(frame["split"].to_numpy(dtype=object) != "train")
    products: dict[str, list[int]] = defaultdict(list)
    for row, label in zip(asked.tolist(), frame["label"].iloc[asked], strict=True):
        products[label].append(row)
    if len(products) <= negatives:
        raise DataError(f"{negatives + 1} candidates need as many products; the validation set has {len(products)}")
    names = list(products)
    kinds: dict[str, list[str]] = defaultdict(list)
    kind = {name: str(frame["sub_category"].iloc[products[name][0]]) for name in names}
    for name in names:
        kinds[kind[name]].append(name)
    columns: dict[str, list[str]] = {}
    for repeat in range(repeats):
        for way, direction in enumerate(DIRECTIONS):
            dice, cells = Dice(seed, repeat, way), [""] * len(frame)
            for name in _some(dice, names, queries):
                row, right = dice.one_of(products[name]), dice.one_of(products[name])
                others = _others(dice, name, kinds[kind[name]], names, negatives)
                shown = [right if direction == "text-to-image" else row]
                shown += [dice.one_of(products[other]) for other in others]
                cells[row] = " ".join(map(str, shown))
            columns[f"{direction} {repeat + 1}"] = cells
    return columns


def _others(dice: Dice, name: str, kin: Sequence[str], names: Sequence[str], count: int) -> list[str]:
    """`count` other products, of the same kind as far as there are any."""
    chosen = [other for other in _some(dice, kin, count + 1) if other != name][:count]
    taken = {name, *chosen}
    while len(chosen) < count:
        other = dice.one_of(names)
        if other not in taken:
            taken.add(other)
            chosen.append(other)
    return chosen


def _some(dice: Dice, names: Sequence[str], count: int) -> Iterator[str]:
    """`count` of the names, or all, none twice, in random order: the first steps of a shuffle."""
    moved: dict[int, int] = {}
    for place in range(min(count, len(names))):
        drawn = dice.between(place, len(names) - 1)
        yield names[moved.get(drawn, drawn)]
        moved[drawn] = moved.get(place, place)


def read_trials(frame: pd.DataFrame, direction: str, repeat: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One column of `draw_trials`: rows that ask (Q,), and their candidates' rows (Q, 101), the right one first.

    Row numbers are those of the whole table, which are also its ids where no id column is chosen. direction:
    "image-to-text" or "text-to-image". repeat: from 1.
    """
    column = f"{direction} {repeat}"
    if column not in frame.columns:
        raise DataError(f'no column "{column}"; convert fashion-gen-random-100, and ask for repeats from 1')
    cells = ["" if cell is None or cell is pd.NA else str(cell) for cell in frame[column].to_numpy(dtype=object)]
    asking = [row for row, cell in enumerate(cells) if cell]
    shown = np.array([cells[row].split() for row in asking], dtype=np.int64)
    return np.array(asking, dtype=np.int64), shown


def _layout(name: str, title: str, read: Callable[[Folder], Converted], evaluator: str, note: str) -> Layout:
    return Layout(
        name,
        title,
        ("train_info.json", "val_info.json", "train/", "val/"),
        read,
        "Rostamzadeh et al., Fashion-Gen, 2018, https://arxiv.org/abs/1806.08317; JSON as pre-processed for "
        "FashionViL, https://github.com/BrandonHanx/mmf",
        evaluate=f"--split validation --set text=text --evaluator {evaluator}",
        note=f"{note} The text is the title, a full stop, and the description. The public validation file is what "
        "papers test on.",
        cross_modal=True,
    )


LAYOUTS = (
    _layout(
        "fashion-gen-full",
        "FashionGen, the whole validation set",
        _full,
        "cross-modal",
        "A picture is searched among the texts of all products, a text among all pictures; right is the same product.",
    ),
    _layout(
        "fashion-gen-random-100",
        "FashionGen, one right among 101 candidates",
        _random_100,
        "'{name: cross-modal, candidates: table}'",
        f"{QUERIES:,} queries, five times, each with the right candidate and {NEGATIVES} of its sub-category, in the "
        "columns `image-to-text 1` ... `text-to-image 5`. The papers' own "
        "drawings are not published.",
    ),
)

"""Writing the set: pictures as PNG, one table of pictures, one table of edits."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from fashreg.data.atelier.captions import caption_of, edit_of, title_of
from fashreg.data.atelier.design import FAMILY, Product, changes, product
from fashreg.data.atelier.scene import picture
from fashreg.data.atelier.words import ATTRIBUTES
from fashreg.errors import DataError

FEWEST = 3 * FAMILY  # one family each for training, validation and test
COLUMNS = ("image", "id", "label", "style", "split", *ATTRIBUTES, "view", "shot", "title", "caption")
EDIT_COLUMNS = ("source", "target", "text", "changes", "split", "source_image", "target_image")


def draw_atelier(
    folder: str | Path,
    products: int = 500,
    views: int = 4,
    seed: int = 0,
    size: int = 160,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws the set into a folder and returns its table, `table.csv`; the edits are in `edits.csv` beside it.

    products: classes, in families of four that share a design. views: pictures per product: in turn studio, worn, lying
    flat, in the street. seed: another set. size: side of the square pictures in pixels. progress: called with the
    number of pictures done and to do. The same arguments give the same pixels and tables on every machine, and product
    n is the same in sets of any size. About 15 % of the families are for validation and 25 % for the test, so test
    products, and their designs, are unseen in training. The table is written last: where it exists, the set is whole.
    """
    for name, value, least in (
        ("products", products, FEWEST),
        ("views", views, 1),
        ("seed", seed, 0),
        ("size", size, 32),
    ):
        if value < least:
            raise DataError(f"atelier: {name} must be {least} or more, got {value}")
    folder, made = Path(folder), [product(number, seed) for number in range(products)]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    shots, done = {}, 0
    for item in made:
        for view in range(views):
            pixels, shots[view] = picture(item, view, seed, size)
            Image.fromarray(pixels).save(folder / image_of(item, view), compress_level=1)
            done += 1
            if progress is not None:
                progress(done, products * views)
    _write(folder / "edits.csv", EDIT_COLUMNS, _edits(made, seed))
    _write(folder / "table.csv", COLUMNS, _rows(made, shots))
    return folder / "table.csv"


def image_of(item: Product, view: int) -> str:
    """The picture's path inside the folder."""
    return f"images/{item.label}_{view}.png"


def split_of(number: int, products: int) -> str:
    """train, validation or test: whole families, the last ones for the test."""
    families, family = -(-products // FAMILY), number // FAMILY
    test, validation = max(1, families * 25 // 100), max(1, families * 15 // 100)
    if family >= families - test:
        return "test"
    return "validation" if family >= families - test - validation else "train"


def _rows(made: list[Product], shots: dict[int, str]) -> Iterator[list[str | int]]:
    for item in made:
        split, title, caption = split_of(item.number, len(made)), title_of(item), caption_of(item)
        for view, shot in shots.items():
            number = item.number * len(shots) + view
            start: list[str | int] = [image_of(item, view), number, item.label, item.style, split]
            yield [*start, *(item.values[name] for name in ATTRIBUTES), view, shot, title, caption]


def _edits(made: list[Product], seed: int) -> Iterator[list[str | int]]:
    """Every ordered pair of one family that differs in one or two attributes."""
    for source in made:
        first = source.number - source.number % FAMILY
        for target in made[first : first + FAMILY]:
            changed = changes(source, target)
            if 1 <= len(changed) <= 2:
                pictures = image_of(source, 0), image_of(target, 0)
                text, split = edit_of(source, target, seed), split_of(source.number, len(made))
                yield [source.label, target.label, text, ";".join(changed), split, *pictures]


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[list[str | int]]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    os.replace(unfinished, path)

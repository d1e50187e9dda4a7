"""FashionIQ: a picture and words for a change ask for another picture. Two galleries are in use, with other numbers.

`original`: all pictures of the category's validation split, as the authors of the data have it. `val`: only those that
occur in the validation triplets, as the VAL method introduced it; fewer wrong answers, so higher numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from fashreg.data.layouts.folder import Converted, Folder, Layout
from fashreg.errors import DataError

_CATEGORIES = ("dress", "shirt", "toptee")
_COLUMNS = ["image", "label", "split", "is_query", "is_gallery", "text", "target", "category"]
_PLACES = ("images/{0}.jpg", "images/{0}.png", "images/{1}/{0}.jpg", "images/{1}/{0}.png")


class _Reader:
    """Rows of one folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        folder.find("images")
        self.place = ""

    def picture(self, name: str, category: str) -> str:
        """Where a picture lies; the first one found tells where all lie."""
        if not self.place:
            there = [place for place in _PLACES if (self.folder.path / place.format(name, category)).is_file()]
            self.place = there[0] if there else ""
        return (self.place or _PLACES[0]).format(name, category)

    def triplets(self, category: str, split: str) -> Iterator[tuple[str, str, str]]:
        """Reference, target, words. Rows that somebody added only to fill a gallery are left out."""
        file = self.folder.find(f"captions/cap.{category}.{split}.json")
        for number, entry in enumerate(self.folder.json(file, list)):
            asked = self.folder.fields(file, entry, f"entry {number}", candidate=str, target=str, captions=list)
            reference, target, words = asked
            if not entry.get("fake_data"):
                yield reference, target, ", ".join(str(sentence).strip() for sentence in words)

    def gallery(self, category: str) -> list[str]:
        """All pictures of the validation split."""
        file = self.folder.find(f"image_splits/split.{category}.val.json")
        names = [str(name) for name in self.folder.json(file, list)]
        if len({*names}) < len(names):
            raise self.folder.fail(file, "a picture occurs in it more than once")
        return names

    def queries(self, category: str, split: str, name: str) -> list[tuple[Any, ...]]:
        """A row per triplet: the reference picture asks, and the label is the target."""
        return [
            (self.picture(a, category), b, name, True, False, words, self.picture(b, category), category)
            for a, b, words in self.triplets(category, split)
        ]


def _read(folder: Folder, *, original: bool) -> Converted:
    reader, rows = _Reader(folder), []
    for category in _CATEGORIES:
        rows += reader.queries(category, "train", "train")
    for category in _CATEGORIES:
        name, asked = f"validation-{category}", [*reader.triplets(category, "val")]
        occurring = list(dict.fromkeys(picture for a, b, _ in asked for picture in (a, b)))
        gallery = reader.gallery(category)
        astray = sorted({b for _, b, _ in asked} - {*gallery})
        if astray:
            raise DataError(
                f"{folder.path}: {len(astray)} targets of {category} (first: {astray[0]}) are not in its "
                "split.*.val.json; captions and image_splits come from different releases"
            )
        rows += reader.queries(category, "val", name)
        rows += [
            (reader.picture(picture, category), picture, name, False, True, "", "", category)
            for picture in (gallery if original else occurring)
        ]
    return Converted(pd.DataFrame(rows, columns=_COLUMNS), folder.path)


def _original(folder: Folder) -> Converted:
    return _read(folder, original=True)


def _val(folder: Folder) -> Converted:
    return _read(folder, original=False)


def _layout(name: str, title: str, read: Any, gallery: str) -> Layout:
    files = [f"captions/cap.{category}.{split}.json" for category in _CATEGORIES for split in ("train", "val")]
    return Layout(
        name,
        title,
        (*files, *(f"image_splits/split.{category}.val.json" for category in _CATEGORIES), "images/"),
        read,
        "Wu et al., Fashion IQ, CVPR 2021, https://github.com/XiaoxiaoGuo/fashion-iq",
        evaluate="--split 'validation-*' --set text=text --set target=target "
        "--evaluator '{name: composed, by: category}'",
        note=f"A query is a reference picture with a text, its label the target; gallery: {gallery}. Each category "
        "(validation-dress, -shirt, -toptee) is searched by itself; the reference stays in the gallery. Training rows "
        "are triplets: image, text, target.",
        repeats=True,
    )


LAYOUTS = (
    _layout(
        "fashion-iq-original",
        "FashionIQ, the authors' galleries",
        _original,
        "every picture of the category's validation split (3,817 dress, 6,346 shirt, 5,373 toptee)",
    ),
    _layout(
        "fashion-iq-val",
        "FashionIQ, the smaller galleries of the VAL protocol",
        _val,
        "the pictures that occur in the validation triplets",
    ),
)

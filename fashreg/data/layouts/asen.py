"""Attribute retrieval in the file format of ASEN: FashionAI, DARN, and the attributes of DeepFashion.

`filenames_SPLIT.txt` has a picture a line, its number being its id, from 0. `label_train.txt` has rows
`id attribute value [attribute value ...]`; `query_SPLIT.txt` and `candidate_SPLIT.txt` have rows `id attribute value`.
`meta.json`, in the folder or above it, names the attributes in the order of their numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from fashreg.data.layouts.folder import Converted, Folder, Layout

_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
Values = dict[tuple[int, int], dict[int, int]]


class _Meta:
    """Names of the attributes and of their values."""

    def __init__(self, folder: Folder) -> None:
        self.file = folder.find("meta.json", "../meta.json")
        content = folder.json(self.file, dict)
        content = content.get(folder.path.resolve().name, content)
        names, counts = folder.fields(self.file, content, "it", ATTRIBUTES=list, ATTRIBUTES_NUM=dict)
        self.attributes = [str(name) for name in names]
        self.values: list[list[str]] = []
        spelled = content.get("ATTRIBUTES_VALUES", {})
        for name in self.attributes:
            count, words = counts.get(name), spelled.get(name, [])
            if type(count) is not int:
                raise folder.fail(self.file, f'ATTRIBUTES_NUM does not count the values of "{name}"')
            fit = len(words) == count == len({*words})
            self.values.append([str(word) for word in words] if fit else [str(number) for number in range(count)])


def _read(folder: Folder) -> Converted:
    meta = _Meta(folder)
    rows: list[tuple[Any, ...]] = []
    for split, name in _SPLITS.items():
        pictures = folder.lines(folder.find(f"filenames_{split}.txt"))
        parts = ("label",) if split == "train" else ("query", "candidate")
        files = [(part, folder.find(f"{part}_{split}.txt")) for part in parts]
        for part, file in files:
            for (picture, _), values in _by_row(folder, meta, file, len(pictures)).items():
                cells = [meta.values[a][values[a]] if a in values else "" for a in range(len(meta.attributes))]
                label = "; ".join(f"{a}={cell}" for a, cell in zip(meta.attributes, cells, strict=True) if cell)
                rows.append((pictures[picture].strip(), label, name, part == "query", part == "candidate", *cells))
    columns = ["image", "label", "split", "is_query", "is_gallery", *meta.attributes]
    return Converted(pd.DataFrame(rows, columns=columns), folder.path)


def _by_row(folder: Folder, meta: _Meta, file: Path, pictures: int) -> Values:
    """(picture, n) -> attribute -> value: a further value of an attribute already told of makes a further row."""
    rows: Values = defaultdict(dict)
    for picture, attribute, value in _labels(folder, meta, file, pictures):
        place = 0
        while attribute in rows[picture, place]:
            place += 1
        rows[picture, place][attribute] = value
    return rows


def _labels(folder: Folder, meta: _Meta, file: Path, pictures: int) -> Iterator[tuple[int, int, int]]:
    """Every (picture, attribute, value) of a file."""
    for number, line in enumerate(folder.lines(file), start=1):
        words = line.split()
        if len(words) < 3 or len(words) % 2 == 0 or not all(word.isascii() and word.isdigit() for word in words):
            raise folder.fail(file, f"line {number} is not `picture attribute value ...`, all numbers")
        picture, *told = map(int, words)
        for attribute, value in zip(told[::2], told[1::2], strict=True):
            known = picture < pictures and attribute < len(meta.attributes)
            if not known or value >= len(meta.values[attribute]):
                raise folder.fail(
                    file, f"line {number} goes beyond {pictures} pictures, or the attributes and values of {meta.file}"
                )
            yield picture, attribute, value


def _layout(name: str, title: str, note: str) -> Layout:
    needs = (
        *(f"filenames_{split}.txt" for split in _SPLITS),
        "label_train.txt",
        *(f"{part}_{split}.txt" for split in ("valid", "test") for part in ("query", "candidate")),
        "meta.json (or above it)",
    )
    source = "Ma et al., Fine-Grained Fashion Similarity Learning by Attribute-Specific Embedding Network, AAAI 2020, "
    return Layout(
        name,
        title,
        needs,
        _read,
        source + "https://github.com/Maryeon/asen",
        evaluate='--split test --evaluator attribute-retrieval --set "attributes=[ATTRIBUTE, ...]"',
        note="For each attribute the queries that have it are searched among the candidates that have it; a candidate "
        f"is right when its value is the same. {note}",
        repeats=True,
    )


LAYOUTS = (
    _layout("fashionai", "FashionAI attributes, ASEN's split", "Every picture has one attribute."),
    _layout("darn", "DARN attributes, ASEN's split", "Pictures have up to nine attributes."),
    _layout(
        "deepfashion-attributes",
        "DeepFashion category and attribute prediction, ASEN's split",
        "A picture with several values of one attribute has a row for each, and only the value asked for is right.",
    ),
)

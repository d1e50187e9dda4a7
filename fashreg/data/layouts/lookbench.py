"""LookBench: Parquet files that hold the pictures. They are unpacked beside the table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from fashreg.data.layouts.folder import Converted, Folder, Layout
from fashreg.errors import DataError

_SUBSETS = {
    "real-studio-flat": "products laid flat in a studio",
    "aigen-studio": "generated studio pictures",
    "real-streetlook": "outfits in the street",
    "aigen-streetlook": "generated outfits in the street",
}
_TOLD = ("category", "main_attribute", "other_attributes", "item_ID", "task", "difficulty", "bbox")
_COLUMNS = [
    *("image", "label", "split", "is_query", "is_gallery", "item"),
    *("category", "main_attribute", "other_attributes", "task", "difficulty", "bbox"),
]
_NOISE = "noise"
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp"}
_ROWS = 64  # read at a time: pictures of a whole file need not fit into memory


def _read(folder: Folder, *, subset: str) -> Converted:
    if folder.pictures is None:
        raise DataError(
            f"{folder.layout} holds its pictures inside Parquet files; say where to unpack them: pictures=FOLDER"
        )
    rows: list[tuple[Any, ...]] = []
    parts = ((subset, "query"), (subset, "gallery"), (_NOISE, "gallery"))
    files = [_files(folder, name, part) for name, part in parts]  # all, before any picture is written
    for (name, part), found in zip(parts, files, strict=True):
        for number, (picture, told) in enumerate(_entries(folder, found)):
            place = f"{name}/{part}/{number:06d}"
            image = _unpack(folder, folder.pictures, place, picture)
            rows.append((image, *_cells(told, part, noise=name == _NOISE)))
    return Converted(pd.DataFrame(rows, columns=_COLUMNS), folder.pictures)


def _files(folder: Folder, name: str, part: str) -> list[Path]:
    """The Parquet files of a part: one, or several numbered ones; of several releases the newest."""
    stems = (name.replace("-", "_"), name)
    for pattern in (f"{part}.parquet", f"{part}-*.parquet"):
        for stem in stems:
            found = [*folder.path.glob(f"{stem}/{pattern}"), *folder.path.glob(f"*/{stem}/{pattern}")]
            if found:
                newest = max(file.parent for file in found)
                return sorted(file for file in found if file.parent == newest)
    raise DataError(
        f"{folder.path} is not a whole {folder.layout} folder: {stems[0]}/{part}.parquet is missing. It must hold "
        f"{', '.join(folder.needs)}"
    )


def _entries(folder: Folder, files: list[Path]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The picture of every row, and what is told of it."""
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
            told = [name for name in _TOLD if name in parquet.schema_arrow.names]
            if not {"image", "category"} <= {*parquet.schema_arrow.names}:
                raise folder.fail(file, "it has no columns image and category")
            for batch in parquet.iter_batches(batch_size=_ROWS, columns=["image", *told]):
                for row in batch.to_pylist():
                    yield row.pop("image"), row
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{file} cannot be read: {error}") from error


def _unpack(folder: Folder, pictures: Path, place: str, picture: Any) -> str:
    """Writes one picture, unless it is there already, and gives its path. Names inside the files are not used."""
    raw = picture.get("bytes") if isinstance(picture, dict) else picture
    raw = raw if isinstance(raw, bytes) else b""
    suffix = next((end for start, end in _SUFFIXES.items() if raw.startswith(start)), None)
    if suffix is None:
        raise DataError(f"{folder.path}: row {place} holds no JPEG, PNG or WebP picture")
    path = pictures / f"{place}{suffix}"
    if not path.is_file() or path.stat().st_size != len(raw):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return f"{place}{suffix}"


def _cells(told: dict[str, Any], part: str, *, noise: bool) -> tuple[Any, ...]:
    """label: category and all attributes, what the benchmark's fine recall asks for. Noise is right for nobody."""
    words = {name: _text(told.get(name)) for name in _TOLD}
    label = " | ".join(words[name] for name in ("category", "main_attribute", "other_attributes") if words[name])
    item = words["item_ID"] or label
    if noise:
        label = item = words["category"] = _NOISE
    known = (words["category"], words["main_attribute"], words["other_attributes"])
    flags = (part == "query", part == "gallery")
    return (label, "test", *flags, item, *known, words["task"], words["difficulty"], words["bbox"])


def _text(value: Any) -> str:
    """Lists as words in one order, whatever order they came in; boxes in theirs."""
    if isinstance(value, list):
        words = [_text(item) for item in value]
        return " ".join(words) if all(type(item) in (int, float) for item in value) else ", ".join(sorted(words))
    return "" if value is None else str(value)


LAYOUTS = tuple(
    Layout(
        f"lookbench-{subset}",
        f"LookBench, {what}",
        tuple(
            f"{name}.parquet"
            for name in (*(f"{subset.replace('-', '_')}/{p}" for p in ("query", "gallery")), "noise/gallery")
        ),
        partial(_read, subset=subset),
        "Gao et al., LookBench, 2026, https://arxiv.org/abs/2601.14706, https://huggingface.co/datasets/srpone/look-bench",
        note="label: category and all attributes agree (fine recall); --label item and --label category ask for the "
        "product and for the category (coarse recall). The noise pictures are part of the gallery. Boxes are kept as "
        "text and not cut out. Files may lie in a release folder such as v20251201/; of several the newest is read.",
        unpacks=True,
    )
    for subset, what in _SUBSETS.items()
)

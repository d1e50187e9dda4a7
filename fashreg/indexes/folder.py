"""The index folder: vectors and ids, what each row is, and which model's weights the vectors come from.

    manifest.json        size and sha256 of the files below
    index.json           the component's spec, number and width of vectors, fingerprint of the model
    vectors.safetensors  `vectors` (N, D) F32 and `ids` (N,) I64
    items.jsonl          one JSON object a row with its `id`: path, label, ... (when items were given)

Search structures are not stored: they are made again from the vectors, so nothing that is read can be anything but
numbers. Reading checks every file before it is used, and every mistake names the file.
"""

from __future__ import annotations

import datetime
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import Tensor

from fashreg.errors import ModelError
from fashreg.interfaces import Index
from fashreg.manifest import Manifest, verify_folder, write_folder_atomically
from fashreg.strict_json import parse_json, read_json, write_json
from fashreg.strict_tensors import TensorRecord, read_tensors, write_tensors

if TYPE_CHECKING:
    from pandas import DataFrame

KIND = "index"
_VERSION = 1
_ABOUT, _TENSORS, _ITEMS = "index.json", "vectors.safetensors", "items.jsonl"

AnyIndex = TypeVar("AnyIndex", bound=Index)


@dataclass(frozen=True, eq=False)
class SavedIndex:
    """What an index folder holds. items: one row per vector with its `id`, None where none were saved."""

    spec: dict[str, Any]
    vectors: Tensor
    ids: Tensor
    items: DataFrame | None
    model_fingerprint: str
    extra: dict[str, Any] = field(default_factory=dict)


def save_index(
    index: Index,
    folder: str | Path,
    *,
    items: DataFrame | Sequence[Mapping[str, Any]] | None = None,
    model_fingerprint: str = "",
    spec: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write an index folder, whole or not at all.

    items: one row for each vector: with a column `id`, or in the order of `index.vectors()`. model_fingerprint: of the
    weights that made the vectors. spec: how to build the index again (`fashreg.spec_of`); without it the options the
    object keeps. extra: anything else, as JSON.
    """
    vectors, ids = index.vectors()
    about = {
        "version": _VERSION,
        "spec": dict(spec) if spec is not None else {"name": type(index).__qualname__, "config": _options(index)},
        "count": len(ids),
        "embed_dim": int(vectors.shape[1]),
        "model_fingerprint": model_fingerprint,
        "extra": dict(extra or {}),
    }
    lines = None if items is None else _lines(items, ids)
    with write_folder_atomically(Path(folder), kind=KIND) as fresh:
        write_json(fresh / _ABOUT, about)
        write_tensors(fresh / _TENSORS, {"vectors": vectors.float(), "ids": ids})
        if lines is not None:
            (fresh / _ITEMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def load_index_folder(folder: str | Path, *, model_fingerprint: str | None = None) -> SavedIndex:
    """Read an index folder, checked throughout; ModelError names the file that is damaged.

    model_fingerprint: when given, an index of another model's vectors is refused.
    """
    manifest = verify_folder(Path(folder), kind=KIND)
    path = manifest.path(_ABOUT)
    about = _checked_about(path, read_json(path))
    if model_fingerprint is not None and about["model_fingerprint"] != model_fingerprint:
        raise ModelError(
            f"{folder} holds vectors of another model (fingerprint {about['model_fingerprint'][:12] or 'unknown'}, "
            f"this one is {model_fingerprint[:12]}); build the index again with this model"
        )
    count, width = about["count"], about["embed_dim"]
    expected = {"vectors": TensorRecord("F32", (count, width)), "ids": TensorRecord("I64", (count,))}
    tensors = read_tensors(manifest.path(_TENSORS), expected=expected)
    _check_ids(manifest.path(_TENSORS), tensors["ids"])
    items = _read_items(manifest, tensors["ids"]) if _ITEMS in manifest.files else None
    return SavedIndex(
        about["spec"], tensors["vectors"], tensors["ids"], items, about["model_fingerprint"], about["extra"]
    )


def load_as(cls: type[AnyIndex], folder: str | Path) -> AnyIndex:
    """An index of this class with the options and rows saved in a folder."""
    saved = load_index_folder(folder)
    known = inspect.signature(cls).parameters
    options = saved.spec["config"]
    if not set(options) <= set(known):
        raise ModelError(f"{folder} was saved by the index {saved.spec['name']!r}, which is not a {cls.__name__}")
    try:
        index = cls(**options)
        index.add(saved.vectors, saved.ids)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{Path(folder) / _ABOUT} holds options that do not work: {error}") from error
    return index


def _options(index: Index) -> dict[str, Any]:
    return {name: getattr(index, name) for name in inspect.signature(type(index)).parameters}


def _checked_about(path: Path, about: Any) -> dict[str, Any]:
    shape = {"version": int, "spec": dict, "count": int, "embed_dim": int, "model_fingerprint": str, "extra": dict}
    if not isinstance(about, dict) or {k: type(v) for k, v in about.items()} != shape:
        raise ModelError(f"{path} is not the description of an index: it needs {', '.join(shape)}")
    if about["version"] != _VERSION:
        raise ModelError(f"{path} has version {about['version']}; this version of fashreg reads {_VERSION}")
    spec = about["spec"]
    if not isinstance(spec.get("name"), str) or not isinstance(spec.get("config"), dict):
        raise ModelError(f"{path}: its spec needs a name and a config")
    if about["count"] < 0 or about["embed_dim"] < 1:
        raise ModelError(f"{path} speaks of {about['count']} vectors of width {about['embed_dim']}")
    return about


def _check_ids(path: Path, ids: Tensor) -> None:
    ordered = ids.sort().values
    if len(ids) and (int(ordered[0]) < 0 or bool((ordered[1:] == ordered[:-1]).any())):
        raise ModelError(f"{path}: its ids are not unique or not 0 or larger")


def _lines(items: DataFrame | Sequence[Mapping[str, Any]], ids: Tensor) -> list[str]:
    rows = items.to_dict("records") if hasattr(items, "to_dict") else [dict(row) for row in items]
    if len(rows) != len(ids):
        raise ValueError(f"{len(ids)} vectors need as many items, got {len(rows)}")
    if rows and "id" not in rows[0]:
        rows = [{"id": i, **row} for i, row in zip(ids.tolist(), rows, strict=True)]
    if sorted(int(row["id"]) for row in rows) != sorted(ids.tolist()):
        raise ValueError("the ids of the items are not the ids of the vectors")
    plain = [{str(key): _plain(key, value) for key, value in row.items()} for row in rows]
    return [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in plain]


def _plain(column: Any, value: Any) -> Any:
    """A table's cell as JSON: numpy scalars as Python's, empty cells as null, paths and dates as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    if isinstance(value, Path | datetime.date):
        return str(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"items column {column!r} holds a {type(value).__name__}, which cannot be saved as JSON")


def _read_items(manifest: Manifest, ids: Tensor) -> DataFrame:
    import pandas as pd

    path = manifest.path(_ITEMS)
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                rows.append(parse_json(line))
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{path}: line {number} cannot be read: {error}") from error
    if not all(isinstance(row, dict) and type(row.get("id")) is int for row in rows):
        raise ModelError(f"{path}: every line must be an object with a whole number as `id`")
    if sorted(row["id"] for row in rows) != sorted(ids.tolist()):
        raise ModelError(f"{path}: its ids are not those of the vectors")
    table = pd.DataFrame(rows, columns=None if rows else ["id"], dtype=object)
    for name, column in table.items():
        if not column.isna().any() or all(isinstance(value, float) for value in column.dropna()):
            table[name] = column.infer_objects()  # elsewhere pandas would turn whole numbers beside gaps into floats
    return table

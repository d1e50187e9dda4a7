"""The evaluation folder: the numbers and everything behind them, for reports, comparisons and second looks.

    manifest.json            size and sha256 of the files below
    evaluation.json          metrics, intervals, slices, counts, protocol
    per_query.safetensors    `ids` (Q,) I64, a (Q,) F64 column a metric, named `metric:NAME`, maybe `groups` (Q,) I64
    neighbours.safetensors   `query_ids` (Q,) I64, `ids` (Q, K) I64, `scores` (Q, K) F32
    back.safetensors         the same of the other direction, where texts find pictures and pictures texts
    vectors.safetensors      `ids` (N,) I64 and `vectors` (N, D) F32, where they are small
    items.jsonl              one JSON object a picture: id, image, label, attributes

Written whole or not at all; every file is checked before it is used, and a mistake names the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import Tensor

from fashreg.errors import ModelError
from fashreg.formats import newer_format_hint
from fashreg.indexes.items_file import read_item_lines
from fashreg.jobs.evaluation_result import Evaluation, Item, Neighbours, PerQuery, Sort, StoredVectors
from fashreg.manifest import MANIFEST, Manifest, read_manifest, verify_folder, write_folder_atomically
from fashreg.strict_json import read_json, write_json
from fashreg.strict_tensors import read_tensors, write_tensors

KIND = "evaluation"
_VERSION = 1
_ABOUT, _PER_QUERY, _NEIGHBOURS, _BACK, _VECTORS, _ITEMS = (
    "evaluation.json",
    "per_query.safetensors",
    "neighbours.safetensors",
    "back.safetensors",
    "vectors.safetensors",
    "items.jsonl",
)
_METRIC = "metric:"

Kept = TypeVar("Kept")


def save_evaluation(evaluation: Evaluation, folder: str | Path) -> Path:
    """Write an evaluation folder, or replace one; killed on the way, the old one stays whole. Returns the folder."""
    check_writable(folder)
    near = {_NEIGHBOURS: evaluation.neighbours, _BACK: evaluation.back}
    about = {"version": _VERSION, **_roles(evaluation.neighbours), **evaluation.as_dict()}
    with write_folder_atomically(Path(folder), kind=KIND) as fresh:
        write_json(fresh / _ABOUT, about)
        if (queries := evaluation.per_query) is not None:
            columns = {f"{_METRIC}{name}": column.double() for name, column in queries.values.items()}
            groups = {} if queries.groups is None else {"groups": queries.groups}
            write_tensors(fresh / _PER_QUERY, {"ids": queries.ids, **groups, **columns})
        for file, part in near.items():
            if part is not None:
                tensors = {"query_ids": part.query_ids, "ids": part.ids, "scores": part.scores.float()}
                write_tensors(fresh / file, tensors)
        if (stored := evaluation.vectors) is not None:
            write_tensors(fresh / _VECTORS, {"ids": stored.ids, "vectors": stored.vectors.float()})
        if evaluation.items is not None:
            lines = [json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in evaluation.items]
            (fresh / _ITEMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return Path(folder)


def check_writable(folder: str | Path) -> None:
    """ModelError where an evaluation must not be written: over a model, an index, a run, anybody's files."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise ModelError(f"{folder} is a file; give the name of a folder for the evaluation")
    if not path.is_dir() or not any(path.iterdir()):
        return
    kind = read_manifest(path).kind if (path / MANIFEST).is_file() else None
    if kind != KIND:
        what = "holds other files" if kind is None else f"holds the fashreg {kind}"
        raise ModelError(f"{folder} {what}, which an evaluation must not replace; choose another folder")


def load_evaluation(folder: str | Path) -> Evaluation:
    """Read an evaluation folder, or the one inside a run folder, checked throughout; ModelError names what is wrong."""
    manifest = verify_folder(evaluation_folder(folder), kind=KIND)
    path = manifest.path(_ABOUT)
    document = read_json(path)
    version = document.get("version") if isinstance(document, dict) else None
    if version != _VERSION:
        hint = newer_format_hint(f"evaluation/{version}", f"evaluation/{_VERSION}")
        raise ModelError(
            f"{path} is not an evaluation of version {_VERSION}, which this version of fashreg reads{hint}"
        )
    attribute, asks, finds = (document.get(name, usual) for name, usual in _USUAL.items())
    if attribute is not None and not isinstance(attribute, str):
        raise ModelError(f"{path}: neighbours_of is a {type(attribute).__name__}, not the name of an attribute")
    if asks not in get_args(Sort) or finds not in get_args(Sort):
        raise ModelError(f"{path}: neighbours_ask and neighbours_find are one of {', '.join(get_args(Sort))}")
    try:
        found = Evaluation.from_dict(document)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    return replace(
        found,
        per_query=_per_query(manifest),
        neighbours=_neighbours(manifest, _NEIGHBOURS, attribute, asks, finds),
        items=_items(manifest),
        vectors=_vectors(manifest),
        back=_neighbours(manifest, _BACK, attribute, finds, asks),
    )


#: What evaluation.json says of the neighbours, and what it leaves out where pictures find pictures.
_USUAL: dict[str, Any] = {"neighbours_of": None, "neighbours_ask": "image", "neighbours_find": "image"}


def _roles(near: Neighbours | None) -> dict[str, Any]:
    said = _USUAL if near is None else dict(zip(_USUAL, (near.attribute, near.asks, near.finds), strict=True))
    return {name: value for name, value in said.items() if name == "neighbours_of" or value != _USUAL[name]}


def evaluation_folder(folder: str | Path) -> Path:
    """The folder itself, or RUN/evaluation of a run folder. ModelError where there is neither."""
    path = Path(folder)
    if not (path / _ABOUT).is_file() and (path / KIND / _ABOUT).is_file():
        return path / KIND
    if path.is_dir() and not (path / _ABOUT).is_file():
        raise ModelError(
            f"{folder} holds no evaluation; make one with: fashreg evaluate MODEL --table TABLE --out {folder}"
        )
    return path


def _per_query(manifest: Manifest) -> PerQuery | None:
    if _PER_QUERY not in manifest.files:
        return None
    tensors = read_tensors(manifest.path(_PER_QUERY), finite=False)  # NaN: a query that does not count
    ids = _taken(manifest, _PER_QUERY, tensors, "ids", "int64", 1)
    groups = _taken(manifest, _PER_QUERY, tensors, "groups", "int64", 1) if "groups" in tensors else None
    names = [name.removeprefix(_METRIC) for name in tensors]
    values = {n: _taken(manifest, _PER_QUERY, tensors, f"{_METRIC}{n}", "float64", 1) for n in names}
    _nothing_else(manifest, _PER_QUERY, tensors)
    if any(bool(column.isinf().any()) for column in values.values()):
        raise ModelError(f"{manifest.path(_PER_QUERY)} holds infinity")
    return _made(manifest, _PER_QUERY, PerQuery, ids, values, groups)


def _neighbours(manifest: Manifest, file: str, *roles: Any) -> Neighbours | None:
    """roles: attribute, and what asks and is found."""
    if file not in manifest.files:
        return None
    tensors = read_tensors(manifest.path(file), finite=False)  # -inf pads
    query_ids = _taken(manifest, file, tensors, "query_ids", "int64", 1)
    ids = _taken(manifest, file, tensors, "ids", "int64", 2)
    scores = _taken(manifest, file, tensors, "scores", "float32", 2)
    _nothing_else(manifest, file, tensors)
    if bool(scores.isnan().any()):
        raise ModelError(f"{manifest.path(file)} holds NaN")
    return _made(manifest, file, Neighbours, query_ids, ids, scores, *roles)


def _vectors(manifest: Manifest) -> StoredVectors | None:
    if _VECTORS not in manifest.files:
        return None
    tensors = read_tensors(manifest.path(_VECTORS))
    ids = _taken(manifest, _VECTORS, tensors, "ids", "int64", 1)
    vectors = _taken(manifest, _VECTORS, tensors, "vectors", "float32", 2)
    _nothing_else(manifest, _VECTORS, tensors)
    return _made(manifest, _VECTORS, StoredVectors, ids, vectors)


def _items(manifest: Manifest) -> list[Item] | None:
    if _ITEMS not in manifest.files:
        return None
    return read_item_lines(manifest.path(_ITEMS))


def _taken(manifest: Manifest, file: str, tensors: dict[str, Tensor], name: str, dtype: str, axes: int) -> Tensor:
    """A tensor taken out of those that were read, with its type and number of axes checked."""
    tensor = tensors.pop(name, None)
    if tensor is None or str(tensor.dtype) != f"torch.{dtype}" or tensor.ndim != axes:
        is_ = "missing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise ModelError(f"{manifest.path(file)}: {name!r} is {is_}, and should be {dtype} of {axes} axes")
    return tensor


def _nothing_else(manifest: Manifest, file: str, tensors: dict[str, Tensor]) -> None:
    if tensors:
        raise ModelError(f"{manifest.path(file)} holds {', '.join(sorted(tensors))}, which no evaluation has")


def _made(manifest: Manifest, file: str, cls: Callable[..., Kept], *parts: Any) -> Kept:
    try:
        return cls(*parts)
    except ValueError as error:
        raise ModelError(f"{manifest.path(file)}: {error}") from error

"""The index folder: vectors and ids, what each row is, and which model's weights the vectors come from.

    manifest.json        size and sha256 of the files below
    index.json           the component's spec, number and width of vectors, fingerprint of the model
    vectors.safetensors  `vectors` (N, D) F32 and `ids` (N,) I64
    items.jsonl          one JSON object a row with its `id`: path, label, ... (when items were given)
    structure.safetensors  numbers from which a search structure is made again quickly (where it has such)

No library's own file format is stored: what is read can be nothing but numbers and text. Reading checks every file
before it is used, and every mistake names the file. Vectors are mapped from the file, not copied into memory.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from fashreg.assembly import build, told_by
from fashreg.errors import BusyError, ModelError, OptionError
from fashreg.formats import newer_format_hint
from fashreg.indexes.items_file import item_lines, read_items
from fashreg.interfaces import Index
from fashreg.manifest import MANIFEST, verify_folder, write_folder_atomically
from fashreg.strict_json import read_json, write_json
from fashreg.strict_tensors import TensorRecord, read_tensors, write_tensors

if TYPE_CHECKING:
    from pandas import DataFrame

KIND = "index"
_VERSION = 1
ABOUT = "index.json"
_TENSORS, _ITEMS, _STRUCTURE = "vectors.safetensors", "items.jsonl", "structure.safetensors"
_MOST_WIDE = 1 << 20  # numbers a vector, beyond which a folder is not believed
_LONGEST = 1000  # letters of a name

AnyIndex = TypeVar("AnyIndex", bound=Index)


@dataclass(frozen=True, eq=False)
class SavedIndex:
    """What an index folder holds. items: one row per vector with its `id`, None where none were saved.

    recall: what was measured when it was saved, {} where nothing was. structure: numbers of its search structure.
    state: changes whenever the folder is written.
    """

    spec: dict[str, Any]
    vectors: Tensor
    ids: Tensor
    items: DataFrame | None
    model_fingerprint: str
    extra: dict[str, Any] = field(default_factory=dict)
    recall: dict[str, Any] = field(default_factory=dict)
    structure: dict[str, Tensor] = field(default_factory=dict)
    folder: Path = Path()
    state: str = ""


def save_index(
    index: Index,
    folder: str | Path,
    *,
    items: DataFrame | Sequence[Mapping[str, Any]] | None = None,
    model_fingerprint: str = "",
    spec: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    recall: Mapping[str, Any] | None = None,
    unchanged_since: SavedIndex | None = None,
) -> None:
    """Write an index folder, whole or not at all.

    items: one row for each vector: with a column `id`, or in the order of `index.vectors()`. model_fingerprint: of the
    weights that made the vectors. spec: how to build the index again (`fashreg.spec_of`); without it the options the
    object keeps. extra: anything else, as JSON. recall: what the index finds of exact search's answers, as measured.
    unchanged_since: what was read from this folder; when another process has written it meanwhile, BusyError, and its
    work stays.
    """
    vectors, ids = index.vectors()
    about = {
        "version": _VERSION,
        "spec": dict(spec) if spec is not None else {"name": type(index).__qualname__, "config": _options(index)},
        "count": len(ids),
        "embed_dim": int(vectors.shape[1]),
        "model_fingerprint": model_fingerprint,
        "extra": dict(extra or {}),
        "recall": dict(recall or {}),
    }
    lines = None if items is None else item_lines(items, ids)
    structure = index.structure() if hasattr(index, "structure") else {}
    with write_folder_atomically(Path(folder), kind=KIND) as fresh:
        if unchanged_since is not None and _state(Path(folder)) != unchanged_since.state:
            raise BusyError(f"another process has changed {folder} meanwhile; nothing was written: do it again")
        write_json(fresh / ABOUT, about)
        write_tensors(fresh / _TENSORS, {"vectors": vectors.float(), "ids": ids})
        if structure:
            write_tensors(fresh / _STRUCTURE, structure)
        if lines is not None:
            (fresh / _ITEMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def load_index_folder(folder: str | Path, *, model_fingerprint: str | None = None) -> SavedIndex:
    """Read an index folder, checked throughout; ModelError names the file that is damaged.

    model_fingerprint: when given, an index of another model's vectors is refused.
    """
    state = _state(Path(folder))
    manifest = verify_folder(Path(folder), kind=KIND)
    path = manifest.path(ABOUT)
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
    return SavedIndex(
        about["spec"],
        tensors["vectors"],
        tensors["ids"],
        read_items(manifest.path(_ITEMS), tensors["ids"]) if _ITEMS in manifest.files else None,
        about["model_fingerprint"],
        about["extra"],
        about["recall"],
        read_tensors(manifest.path(_STRUCTURE)) if _STRUCTURE in manifest.files else {},
        Path(folder),
        state,
    )


def fill_index(index: AnyIndex, saved: SavedIndex) -> AnyIndex:
    """Put the rows of a folder into an empty index, with the structure where both have one; gives the index."""
    if saved.spec["config"].get("embed_dim", index.embed_dim) != saved.vectors.shape[1]:
        raise ModelError(f"{saved.folder / ABOUT} holds options that do not work: embed_dim is that of other vectors")
    if not hasattr(index, "restore"):
        index.add(saved.vectors, saved.ids)
        return index
    try:
        index.restore(saved.vectors, saved.ids, saved.structure)
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(f"{saved.folder / _STRUCTURE} does not fit the vectors: {error}") from error
    return index


def load_as(cls: type[AnyIndex], folder: str | Path) -> AnyIndex:
    """An index of this class with the options and rows saved in a folder."""
    saved = load_index_folder(folder)
    known = inspect.signature(cls).parameters
    if not set(saved.spec["config"]) <= set(known):
        raise ModelError(f"{folder} was saved by the index {saved.spec['name']!r}, which is not a {cls.__name__}")
    try:
        with told_by(folder):
            index: AnyIndex = build("index", cls, **saved.spec["config"])
    except OptionError as error:
        raise ModelError(f"{Path(folder) / ABOUT} holds options that do not work: {error}") from error
    return fill_index(index, saved)


def _state(folder: Path) -> str:
    """Digest of the manifest, which holds those of all files; "" without one."""
    path = folder / MANIFEST
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _options(index: Index) -> dict[str, Any]:
    return {name: getattr(index, name) for name in inspect.signature(type(index)).parameters}


def _checked_about(path: Path, about: Any) -> dict[str, Any]:
    shape = {"version": int, "spec": dict, "count": int, "embed_dim": int, "model_fingerprint": str, "extra": dict}
    shape["recall"] = dict
    if isinstance(about, dict):
        about = {"recall": {}, **about}  # absent in folders of fashreg 0.1
    if not isinstance(about, dict) or {k: type(v) for k, v in about.items()} != shape:
        raise ModelError(f"{path} is not the description of an index: it needs {', '.join(shape)}")
    if about["version"] != _VERSION:
        hint = newer_format_hint(f"index/{about['version']}", f"index/{_VERSION}")
        raise ModelError(f"{path} has version {about['version']}; this version of fashreg reads {_VERSION}{hint}")
    spec = about["spec"]
    texts = {name: value for name, value in spec.items() if name != "config"}
    if not isinstance(spec.get("name"), str) or not isinstance(spec.get("config"), dict):
        raise ModelError(f"{path}: its spec needs a name and a config")
    for name, value in texts.items():
        if name not in ("name", "plugin", "version") or not isinstance(value, str) or len(value) > _LONGEST:
            raise ModelError(f"{path}: its spec cannot have {name!r} as it is: name, plugin, version are short texts")
    if about["count"] < 0 or not 1 <= about["embed_dim"] <= _MOST_WIDE:
        raise ModelError(f"{path} speaks of {about['count']} vectors of width {about['embed_dim']}")
    return about


def _check_ids(path: Path, ids: Tensor) -> None:
    ordered = ids.sort().values
    if len(ids) and (int(ordered[0]) < 0 or bool((ordered[1:] == ordered[:-1]).any())):
        raise ModelError(f"{path}: its ids are not unique or not 0 or larger")

"""Questions to a gallery: pictures, pictures of the gallery by id, texts, and vectors from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.encoder.questions import paired
from fashreg.errors import DataError, ModelError
from fashreg.indexes.folder import SavedIndex
from fashreg.jobs.gallery import Gallery, Hit
from fashreg.jobs.where import Where
from fashreg.strict_tensors import read_header, read_metadata, read_tensors


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries, each with name, picture, text and label (None where there is none), vector and own id (-1 for none)."""

    names: list[str]
    pictures: list[Path | None]
    labels: list[str | None]
    vectors: Tensor
    ids: Tensor
    texts: list[str | None]

    def search(self, gallery: Gallery, k: int, *, where: Where | None = None, rerank: Any = None) -> list[list[Hit]]:
        """The hits of each query."""
        return gallery.search_vectors(self.vectors, k, query_ids=self.ids, where=where, rerank=rerank)


@dataclass(frozen=True)
class _Query:
    name: str
    picture: Path | None = None
    text: str | None = None
    own: int = -1


def ask(
    gallery: Gallery,
    pictures: Sequence[Path] = (),
    ids: Sequence[int] = (),
    vectors: Tensor | None = None,
    texts: Sequence[str] = (),
) -> Asked:
    """Queries in this order: pictures, ids, or texts, then vectors.

    Texts beside pictures or ids belong to them, one each, or one for all of the others.
    """
    stored = [gallery.vectors_of(torch.tensor(list(ids), dtype=torch.int64))] if ids else []  # says which are unknown
    seen = [_Query(str(p), p, own=gallery.id_of(p)) for p in pictures]
    seen += [_Query(f"id {i}", gallery.picture_of(i), own=i) for i in ids]
    if texts:
        queries, parts = _told(gallery, seen, texts)
    else:
        queries, parts = seen, [*([gallery.embed(list(pictures))] if pictures else []), *stored]
    if vectors is not None:
        queries = [*queries, *(_Query(f"vector {row}") for row in range(len(vectors)))]
        parts.append(vectors.float())
    labels = [None if query.picture is None else gallery.label_of(query.picture) for query in queries]
    own = torch.tensor([query.own for query in queries], dtype=torch.int64)
    shown = [query.picture for query in queries]
    return Asked([q.name for q in queries], shown, labels, torch.cat(parts), own, [q.text for q in queries])


def _told(gallery: Gallery, seen: list[_Query], texts: Sequence[str]) -> tuple[list[_Query], list[Tensor]]:
    """Queries of texts alone, or of pictures each with its text, and their vectors."""
    if not all(text.strip() for text in texts):
        raise DataError("a text to ask with is empty")
    if not seen:
        return [_Query(f'"{text}"', text=text) for text in texts], [gallery.embed(texts=list(texts))]
    try:
        said = paired(len(seen), texts)
    except ValueError as error:
        raise DataError(str(error)) from None
    seen = seen * len(said) if len(seen) == 1 else seen
    queries = [replace(q, name=f'{q.name} + "{text}"', text=text) for q, text in zip(seen, said, strict=True)]
    return queries, [gallery.embed([query.picture for query in queries], texts=said)]


def read_vectors(path: Path, saved: SavedIndex, *, across: bool = False) -> Tensor:
    """Query vectors (Q, D) from a .safetensors file (`vectors`, as `fashreg embed` writes) or a .npy file.

    DataError for anything that cannot be a question to this index; ModelError where the file says that another task,
    or (unless across) another model made its vectors.
    """
    if path.suffix == ".npy":
        found = _read_npy(path)
    elif path.suffix == ".safetensors":
        if "vectors" not in (names := read_header(path)):
            raise DataError(f"{path} holds no tensor `vectors`, but {', '.join(sorted(names)) or 'nothing'}")
        _check_makers(path, read_metadata(path), saved, across)
        found = read_tensors(path)["vectors"]
    else:
        raise DataError(f"{path}: vectors are read from .safetensors or .npy files")
    found = found[None] if found.ndim == 1 else found
    wide = saved.vectors.shape[1]
    if found.ndim != 2 or found.shape[1] != wide or not found.is_floating_point():
        raise DataError(f"{path} holds {tuple(found.shape)} {found.dtype}; this index is asked with float (Q, {wide})")
    return found


def _check_makers(path: Path, said: Mapping[str, str], saved: SavedIndex, across: bool) -> None:
    """ModelError where a file says that its vectors are not of the index's making. said: its metadata."""
    asked, task = said.get("task"), saved.extra.get("task")
    if asked and task and asked != task:
        raise ModelError(f"{path} holds vectors of the task {asked!r}, and {saved.folder} those of {task!r}")
    made_by, alone = said.get("model", saved.model_fingerprint), said.get("task_fingerprint")
    same_task = bool(alone) and alone == saved.extra.get("task_fingerprint")
    if made_by != saved.model_fingerprint and not same_task and not across:
        raise ModelError(
            f"{path} was made by another model (fingerprint {made_by[:12]}) than {saved.folder} "
            f"({saved.model_fingerprint[:12]}); embed again with the index's model, or say --across-models"
        )


def _read_npy(path: Path) -> Tensor:
    """A .npy file, mapped: nothing is allocated for what its header only claims, and nothing in it is executed."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as a .npy file: {error}") from None
    if found.dtype.kind != "f":
        raise DataError(f"{path} holds {found.dtype}, and vectors are floats")
    return torch.from_numpy(np.array(found, dtype=np.float32))

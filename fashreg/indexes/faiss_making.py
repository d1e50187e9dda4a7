"""Empty FAISS structures by factory string or kind, and what they need and can."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from fashreg.indexes.faiss_factory import check_factory

Kind = Literal["flat", "sq8", "ivf-sq8", "ivf-pq", "hnsw"]
TRAIN_POINTS = 39  # vectors a centroid, below which FAISS itself warns
_LEAST_LISTS, _MOST_POINTS = 16, 64  # lists of a small gallery; vectors a list that training looks at


def library() -> Any:
    """FAISS, imported when it is first needed. (Its type stubs know only a part of it.)"""
    import faiss

    return faiss


def factory_of(kind: Kind, embed_dim: int, count: int) -> str:
    """The factory string of a kind for about `count` vectors."""
    lists = _LEAST_LISTS
    while 2 * lists <= 4 * count**0.5 and 2 * lists * TRAIN_POINTS <= count:
        lists *= 2
    codes = f"PQ{embed_dim // 2}x4fs" if embed_dim % 2 == 0 else f"PQ{embed_dim}x4fs"
    made = {"flat": "Flat", "sq8": "SQ8", "hnsw": "HNSW32_SQ8", "ivf-sq8": f"IVF{lists},SQ8"}
    return made.get(kind, f"IVF{lists},{codes}")


def made(factory: str, embed_dim: int) -> Any:
    """An empty structure of that factory string; ValueError with FAISS's reason for an impossible one."""
    faiss = library()

    check_factory(factory, embed_dim)
    try:
        return faiss.index_factory(embed_dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        reason = re.sub(r"^Error in .* at .*?:\d+: (Error: '.*' failed: )?", "", str(error).strip())
        raise ValueError(f"FAISS cannot make {factory!r} for vectors of width {embed_dim}: {reason}") from None


def inner(structure: Any) -> Any:
    """The structure inside transforms and refinements, as what it is."""
    faiss = library()

    while structure is not None:
        structure = faiss.downcast_index(structure)
        inside = getattr(structure, "index", None) or getattr(structure, "base_index", None)
        if inside is None:
            break
        structure = inside
    return structure


def codes_of(structure: Any) -> Any:
    """What holds the codes: the storage of a graph, else the structure itself, without transforms."""
    found = inner(structure)
    return inner(found.storage) if hasattr(found, "storage") else found


def train_points(structure: Any, factory: str) -> int:
    """Vectors that the structure wants before it is trained; 0 when it needs no training."""
    if structure is None or structure.is_trained:
        return 0
    return TRAIN_POINTS * max(least_points(structure), 256 if "OPQ" in factory else 1)


def least_points(structure: Any) -> int:
    """Vectors without which training is impossible: as many as it has centroids."""
    codes = codes_of(structure)
    words = int(getattr(codes, "ksub", 0) or getattr(getattr(codes, "pq", None), "ksub", 1))
    return max(int(getattr(inner(structure), "nlist", 1)), words)


def spare_training(structure: Any) -> None:
    """Let k-means for the lists look at 64 vectors a list instead of 256: a quarter of the time, equal recall."""
    training = getattr(inner(structure), "cp", None)
    if training is not None:
        training.max_points_per_centroid = _MOST_POINTS


def default_refine(structure: Any) -> int:
    """Candidates a neighbour, beside some for all: 1 where codes are whole vectors or 8 bits a number, else 8."""
    codes = codes_of(structure)
    fine = "Flat" in type(codes).__name__ or (hasattr(codes, "sq") and codes.sq.bits >= 8)
    return 1 if fine and codes.d == structure.d else 8


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[None]:
    """Within the block FAISS uses so many threads; None: as many as torch."""
    faiss = library()

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(min(threads or torch.get_num_threads(), 4 * (os.cpu_count() or 1)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)

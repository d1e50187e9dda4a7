"""A trained FAISS structure as plain numbers, and back: no file of FAISS's own is ever read.

Kept is what is costly to find again: centroids, code books, the list of every row, the links of a graph. Codes are made
again from the vectors. What is read back is checked before FAISS sees it: a number out of place would make it read
memory that is not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.indexes.faiss_making import codes_of, faiss_threads, inner
from fashreg.indexes.faiss_structure import Structure
from fashreg.indexes.slots import Slots


def structure_arrays(structure: Structure) -> dict[str, Tensor]:
    """Tensors by name; empty for structures that are simply made again (transforms, code types not known here)."""
    import faiss

    plain = faiss.downcast_index(structure.faiss)
    if inner(plain) is not plain or not _known(plain):
        return {}
    found = {name: torch.from_numpy(array) for name, array in _trained(plain).items()}
    if structure.lists:
        found["centroids"] = torch.from_numpy(plain.quantizer.reconstruct_n(0, structure.lists))
        found["lists"] = _lists_of_rows(plain, structure.slots)
    elif structure.is_graph:
        found |= _graph(plain, structure.slots)
    return found


def restore_structure(structure: Structure, vectors: Tensor, arrays: Mapping[str, Tensor]) -> bool:
    """Fill an empty structure for these rows (N, D); False when the arrays are of another form: it must be trained.

    ValueError for numbers that no such structure has.
    """
    import faiss

    structure.renew(len(vectors))
    plain = faiss.downcast_index(structure.faiss)
    if inner(plain) is not plain or not _known(plain):
        return False
    with faiss_threads(structure.threads):
        _put_trained(plain, arrays)
        if structure.lists:
            _fill_lists(plain, vectors, _checked(arrays, "centroids"), _checked(arrays, "lists"))
            structure.slots = Slots()
            structure.slots.take(torch.arange(len(vectors)))
        elif structure.is_graph:
            structure.slots = _fill_graph(plain, vectors, arrays)
        else:
            plain.is_trained = True
            plain.add(vectors.numpy())
            structure.slots = Slots()
            structure.slots.take(torch.arange(len(vectors)))
    return True


def _known(plain: Any) -> bool:
    """Whether the codes are whole vectors, 8-bit numbers or products, the kinds whose training is carried here."""
    name = type(codes_of(plain)).__name__
    return name.removeprefix("Index").removeprefix("IVF") in {"Flat", "FlatIP", "ScalarQuantizer", "PQ", "PQFastScan"}


def _trained(plain: Any) -> dict[str, Any]:
    import faiss

    codes = codes_of(plain)
    if hasattr(codes, "pq"):
        return {"codebooks": faiss.vector_to_array(codes.pq.centroids)}
    return {"ranges": faiss.vector_to_array(codes.sq.trained)} if hasattr(codes, "sq") else {}


def _put_trained(plain: Any, arrays: Mapping[str, Tensor]) -> None:
    import faiss

    codes = codes_of(plain)
    if hasattr(codes, "pq"):
        wanted, target = codes.d * codes.pq.ksub, codes.pq.centroids
    elif hasattr(codes, "sq"):
        wanted, target = 2 * codes.d, codes.sq.trained
    else:
        codes.is_trained = True
        return
    given = _checked(arrays, "codebooks" if hasattr(codes, "pq") else "ranges")
    if given.dtype != torch.float32 or given.shape != (wanted,):
        raise ValueError(f"{wanted} trained numbers are needed, and there are {tuple(given.shape)} {given.dtype}")
    faiss.copy_array_to_vector(given.numpy(), target)
    codes.is_trained = True


def _checked(arrays: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in arrays:
        raise ValueError(f"the structure lacks {name!r}")
    return arrays[name].contiguous()


def _lists_of_rows(plain: Any, slots: Slots) -> Tensor:
    """(N,) int32: the inverted list in which each row stands."""
    import faiss

    found = np.full(len(slots), -1, dtype=np.int32)
    for number in range(plain.nlist):
        size = plain.invlists.list_size(number)
        if size:
            found[faiss.rev_swig_ptr(plain.invlists.get_ids(number), size)] = number
    rows = slots.rows
    kept = torch.empty(len(slots) - slots.empty, dtype=torch.int32)
    kept[rows[rows >= 0]] = torch.from_numpy(found)[rows >= 0]
    return kept


def _fill_lists(plain: Any, vectors: Tensor, centroids: Tensor, lists: Tensor) -> None:
    import faiss

    if centroids.dtype != torch.float32 or centroids.shape != (plain.nlist, plain.d):
        raise ValueError(f"{plain.nlist} centroids of width {plain.d} are needed, not {tuple(centroids.shape)}")
    if lists.dtype != torch.int32 or lists.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} rows need as many list numbers, not {tuple(lists.shape)} {lists.dtype}")
    if len(lists) and (int(lists.min()) < 0 or int(lists.max()) >= plain.nlist):
        raise ValueError(f"list numbers go from 0 to {plain.nlist - 1}")
    plain.quantizer.train(centroids.numpy())
    plain.quantizer.add(centroids.numpy())
    plain.is_trained = True
    if hasattr(plain, "precompute_table"):
        plain.precompute_table()
    numbers = np.ascontiguousarray(lists.numpy().astype(np.int64))
    rows = np.ascontiguousarray(vectors.numpy())
    plain.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(numbers))


def _graph(plain: Any, slots: Slots) -> dict[str, Tensor]:
    """Links of every slot; `gone`: the vectors of slots that nobody holds, which the graph still walks through."""
    import faiss

    graph, rows = plain.hnsw, slots.rows
    empty = (rows < 0).nonzero().flatten()
    gone = np.stack([plain.storage.reconstruct(int(s)) for s in empty]) if len(empty) else np.zeros((0, plain.d), "f4")
    return {
        "slots": rows.clone(),
        "gone": torch.from_numpy(gone),
        "levels": torch.from_numpy(faiss.vector_to_array(graph.levels).astype(np.int32)),
        "links": torch.from_numpy(faiss.vector_to_array(graph.neighbors)),
        "entry": torch.tensor([graph.entry_point], dtype=torch.int32),
    }


def _fill_graph(plain: Any, vectors: Tensor, arrays: Mapping[str, Tensor]) -> Slots:
    import faiss

    rows, gone, levels, links, entry = (_checked(arrays, n) for n in ("slots", "gone", "levels", "links", "entry"))
    graph, places = plain.hnsw, _placed(vectors, rows, gone)
    steps = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    offsets = _checked_links(levels, links, entry, steps, len(rows))
    plain.storage.add(places.numpy())
    faiss.copy_array_to_vector(levels.numpy(), graph.levels)
    faiss.copy_array_to_vector(offsets, graph.offsets)
    graph.neighbors.resize(len(links))
    if len(links):
        faiss.rev_swig_ptr(graph.neighbors.data(), len(links))[:] = links.numpy()
    graph.entry_point, graph.max_level = int(entry), int(levels.max()) - 1 if len(levels) else -1
    plain.ntotal, plain.is_trained = len(rows), True
    return Slots(rows) if len(gone) or not torch.equal(rows, torch.arange(len(rows))) else _plain_slots(len(rows))


def _plain_slots(count: int) -> Slots:
    slots = Slots()
    slots.take(torch.arange(count))
    return slots


def _placed(vectors: Tensor, rows: Tensor, gone: Tensor) -> Tensor:
    """(S, D) the vector of each slot."""
    held = rows >= 0
    if rows.dtype != torch.int64 or not torch.equal(rows[held].sort().values, torch.arange(len(vectors))):
        raise ValueError(f"the slots of the graph do not hold each of {len(vectors)} rows once")
    if gone.dtype != torch.float32 or gone.shape != (int((~held).sum()), vectors.shape[1]):
        raise ValueError("the graph's empty slots have no vectors that fit")
    places = torch.empty(len(rows), vectors.shape[1])
    places[held], places[~held] = vectors[rows[held]], gone
    return places


def _checked_links(levels: Tensor, links: Tensor, entry: Tensor, steps: Any, count: int) -> Any:
    """Where the links of each slot begin, (S + 1,) uint64, if every link leads to a slot that has that level."""
    if (levels.dtype, links.dtype, entry.dtype) != (torch.int32,) * 3 or levels.shape != (count,) or len(entry) != 1:
        raise ValueError(f"the graph does not describe {count} slots")
    if count and not 1 <= int(levels.min()) <= int(levels.max()) < len(steps):
        raise ValueError(f"the graph has levels beyond 1 to {len(steps) - 1}")
    offsets = np.concatenate([[0], np.cumsum(steps[levels.numpy()])]).astype(np.uint64)
    if links.shape != (int(offsets[-1]),) or (count and not -1 <= int(links.min()) <= int(links.max()) < count):
        raise ValueError("the graph has links that lead nowhere")
    first = int(entry)
    if (count == 0) != (first == -1) or (count and (not 0 <= first < count or levels[first] != levels.max())):
        raise ValueError("the graph has no entry that can be entered")
    high = (levels > 1).nonzero().flatten().numpy()
    for level in range(1, int(levels.max()) if count else 0):
        nodes = high[levels.numpy()[high] > level]
        width = np.arange(steps[level], steps[level + 1])
        ends = links.numpy()[offsets[nodes].astype(np.int64)[:, None] + width]
        if (levels.numpy()[ends[ends >= 0]] <= level).any():
            raise ValueError(f"the graph has links on level {level} to slots that do not reach it")
    return offsets

"""A trained FAISS structure as plain numbers, and back: no file of FAISS's own is ever read.

Kept is what is costly to find again: rotations, centroids, code books, the list of every row, the links of a graph.
Codes are made again from the vectors. What is read back is checked before FAISS sees it: a number out of place would
make it read memory that is not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.indexes.faiss_arrays_only import for_arrays
from fashreg.indexes.faiss_graph import fill_graph, graph_arrays
from fashreg.indexes.faiss_making import codes_of, faiss_threads, library
from fashreg.indexes.faiss_structure import Structure
from fashreg.indexes.slots import Slots

_CODES = ("Flat", "FlatIP", "ScalarQuantizer", "PQ", "PQFastScan")  # codes whose training is carried here


def structure_arrays(structure: Structure) -> dict[str, Tensor]:
    """Tensors by name; empty for structures of other forms, which are simply made again."""
    faiss = library()

    transforms, inside = _parts(structure.faiss)
    if not _known(transforms, inside):
        return {}
    found = {"made_for": np.array([structure.made_for])}
    for place, transform in enumerate(transforms):
        found[f"rotation.{place}"] = faiss.vector_to_array(transform.A)
        found[f"offset.{place}"] = faiss.vector_to_array(transform.b)
    if (trained := _trained(inside)) is not None:
        found["trained"] = faiss.vector_to_array(trained)
    if structure.lists:
        found["centroids"] = for_arrays(inside.quantizer, "reconstruct_n")(0, structure.lists)
        found["lists"] = _lists_of_rows(inside, structure.slots)
    tensors = {name: torch.from_numpy(array) for name, array in found.items()}
    return {**tensors, **(graph_arrays(inside, structure.slots) if structure.is_graph else {})}


def restore_structure(structure: Structure, vectors: Tensor, arrays: Mapping[str, Tensor]) -> bool:
    """Fill an empty structure for these rows (N, D); False when it is of a form that must be trained again.

    ValueError for numbers that no such structure has.
    """
    count = arrays.get("made_for")
    if count is None or count.dtype != torch.int64 or count.shape != (1,) or not 0 <= int(count) < 1 << 40:
        raise ValueError(f"one number 'made_for' is needed, and there is {_form(count)}")
    structure.renew(int(count))
    transforms, inside = _parts(structure.faiss)
    if not _known(transforms, inside):
        return False
    with faiss_threads(structure.threads):
        for place, transform in enumerate(transforms):
            _put(transform.A, arrays, f"rotation.{place}", transform.d_out * transform.d_in)
            _put(transform.b, arrays, f"offset.{place}", transform.d_out if transform.have_bias else 0)
            transform.is_trained = True
            vectors = torch.from_numpy(transform.apply(vectors.numpy()))
        codes, trained = codes_of(inside), _trained(inside)
        if trained is not None:
            _put(trained, arrays, "trained", codes.d * codes.pq.ksub if hasattr(codes, "pq") else _ranges(codes))
        codes.is_trained = inside.is_trained = structure.faiss.is_trained = True
        slots = Slots.holding(torch.arange(len(vectors)))
        if structure.lists:
            _fill_lists(inside, vectors, arrays)
        elif structure.is_graph:
            slots = fill_graph(inside, vectors, arrays)
        elif len(vectors):
            for_arrays(inside, "add")(vectors.numpy())
    structure.faiss.ntotal, structure.slots = len(slots), slots
    return True


def _parts(structure: Any) -> tuple[list[Any], Any]:
    """The transforms before a structure, and the structure after them, as what they are."""
    faiss = library()

    whole = faiss.downcast_index(structure)
    if not isinstance(whole, faiss.IndexPreTransform):
        return [], whole
    chain = [faiss.downcast_VectorTransform(whole.chain.at(i)) for i in range(whole.chain.size())]
    return chain, faiss.downcast_index(whole.index)


def _known(transforms: list[Any], inside: Any) -> bool:
    faiss = library()

    codes = type(codes_of(inside)).__name__.removeprefix("Index").removeprefix("IVF")
    other_graph = hasattr(inside, "storage") and not hasattr(inside, "hnsw")
    wrapped = hasattr(inside, "base_index") or hasattr(inside, "index") or other_graph
    return all(isinstance(t, faiss.LinearTransform) for t in transforms) and codes in _CODES and not wrapped


def _trained(inside: Any) -> Any:
    """FAISS's vector of what its codes have learnt; None for whole vectors."""
    codes = codes_of(inside)
    if hasattr(codes, "pq"):
        return codes.pq.centroids
    return codes.sq.trained if hasattr(codes, "sq") else None


def _ranges(codes: Any) -> int:
    """Numbers that a scalar quantiser learns: a range for each dimension, or none, or one for all."""
    faiss = library()

    kind, types = codes.sq.qtype, faiss.ScalarQuantizer
    if kind in (types.QT_8bit, types.QT_4bit, types.QT_6bit):
        return int(2 * codes.d)
    return 2 if kind in (types.QT_8bit_uniform, types.QT_4bit_uniform) else 0


def _put(target: Any, arrays: Mapping[str, Tensor], name: str, count: int) -> None:
    """Copy numbers into a vector of FAISS's, if they are as many as it needs."""
    faiss = library()

    given = arrays.get(name)
    if given is None or given.dtype != torch.float32 or given.shape != (count,):
        raise ValueError(f"{count} numbers {name!r} are needed, and there are {_form(given)}")
    faiss.copy_array_to_vector(given.contiguous().numpy(), target)


def _form(given: Tensor | None) -> str:
    return "none" if given is None else f"{tuple(given.shape)} of {given.dtype}"


def _lists_of_rows(inside: Any, slots: Slots) -> Any:
    """(N,) int32: the inverted list in which each row stands."""
    faiss = library()

    found = np.full(len(slots), -1, dtype=np.int32)
    for number in range(inside.nlist):
        if size := inside.invlists.list_size(number):
            found[faiss.rev_swig_ptr(inside.invlists.get_ids(number), size)] = number
    rows = slots.rows.numpy()
    lists = np.empty(len(slots) - slots.empty, dtype=np.int32)
    lists[rows[rows >= 0]] = found[rows >= 0]
    return lists


def _fill_lists(inside: Any, vectors: Tensor, arrays: Mapping[str, Tensor]) -> None:
    faiss = library()

    centroids, lists = arrays.get("centroids"), arrays.get("lists")
    if centroids is None or centroids.dtype != torch.float32 or centroids.shape != (inside.nlist, inside.d):
        raise ValueError(f"({inside.nlist}, {inside.d}) centroids are needed, and there are {_form(centroids)}")
    if lists is None or lists.dtype != torch.int32 or lists.shape != (len(vectors),):
        raise ValueError(f"{len(vectors)} rows need as many list numbers, and there are {_form(lists)}")
    if len(lists) and not 0 <= int(lists.min()) <= int(lists.max()) < inside.nlist:
        raise ValueError(f"list numbers go from 0 to {inside.nlist - 1}")
    for_arrays(inside.quantizer, "train")(centroids.numpy())
    for_arrays(inside.quantizer, "add")(centroids.numpy())
    if hasattr(inside, "precompute_table"):
        inside.precompute_table()
    numbers, rows = lists.numpy().astype(np.int64), np.ascontiguousarray(vectors.numpy())
    target = _unpacked(inside)
    if len(rows):
        target.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(numbers))
    if target is not inside:
        packed = faiss.IndexIVFPQFastScan(target)
        inside.replace_invlists(packed.invlists, True)
        packed.own_invlists, inside.ntotal = False, len(rows)


def _unpacked(inside: Any) -> Any:
    """The same structure with plain codes where its own are packed for fast scans, into which no list can be given."""
    faiss = library()

    if not isinstance(inside, faiss.IndexIVFPQFastScan):
        return inside
    plain = faiss.IndexIVFPQ(inside.quantizer, inside.d, inside.nlist, inside.pq.M, inside.pq.nbits, inside.metric_type)
    plain.own_fields, plain.by_residual = False, inside.by_residual
    faiss.copy_array_to_vector(faiss.vector_to_array(inside.pq.centroids), plain.pq.centroids)
    plain.is_trained = True
    return plain

"""The links of an HNSW graph as plain numbers, checked before FAISS follows any of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.indexes.faiss_arrays_only import for_arrays
from fashreg.indexes.faiss_making import library
from fashreg.indexes.slots import Slots


def graph_arrays(graph_index: Any, slots: Slots) -> dict[str, Tensor]:
    """Levels and links of every slot, and `gone`: vectors of the slots nobody holds, which walks still pass through."""
    faiss = library()

    graph, rows, width = graph_index.hnsw, slots.rows, graph_index.d
    empty = (rows < 0).nonzero().flatten().tolist()
    gone = [for_arrays(graph_index.storage, "reconstruct")(slot) for slot in empty] or [
        np.zeros((0, width), dtype=np.float32)
    ]
    return {
        "slots": rows.clone(),
        "gone": torch.from_numpy(np.concatenate(gone).reshape(-1, width)),
        "levels": torch.from_numpy(faiss.vector_to_array(graph.levels).astype(np.int32)),
        "links": torch.from_numpy(faiss.vector_to_array(graph.neighbors)),
        "entry": torch.tensor([graph.entry_point], dtype=torch.int32),
    }


def fill_graph(graph_index: Any, vectors: Tensor, arrays: Mapping[str, Tensor]) -> Slots:
    """Put rows (N, D) and their links into an empty graph; gives its slots. ValueError for links that cannot be."""
    faiss = library()

    missing = {"slots", "gone", "levels", "links", "entry"} - set(arrays)
    if missing:
        raise ValueError(f"the graph lacks {', '.join(sorted(missing))}")
    rows, levels, links, entry = (arrays[name].contiguous() for name in ("slots", "levels", "links", "entry"))
    graph, places = graph_index.hnsw, _placed(vectors, rows, arrays["gone"])
    steps = faiss.vector_to_array(graph.cum_nneighbor_per_level)
    offsets = _checked_offsets(levels.numpy(), links.numpy(), entry.numpy(), steps, len(rows))
    if len(rows):
        for_arrays(graph_index.storage, "add")(places.contiguous().numpy())
        faiss.copy_array_to_vector(levels.numpy(), graph.levels)
        faiss.copy_array_to_vector(offsets, graph.offsets)
        graph.neighbors.resize(len(links))
        faiss.rev_swig_ptr(graph.neighbors.data(), len(links))[:] = links.numpy()
        graph.entry_point, graph.max_level = int(entry), int(levels.max()) - 1
    graph_index.ntotal, graph_index.is_trained = len(rows), True
    return Slots.holding(rows)


def _placed(vectors: Tensor, rows: Tensor, gone: Tensor) -> Tensor:
    """(S, D) the vector of each slot."""
    held = rows >= 0
    if rows.dtype != torch.int64 or not torch.equal(rows[held].sort().values, torch.arange(len(vectors))):
        raise ValueError(f"the slots of the graph do not hold each of {len(vectors)} rows once")
    if gone.dtype != torch.float32 or gone.shape != (int((~held).sum()), vectors.shape[1]):
        raise ValueError("the empty slots of the graph have no vectors that fit")
    if torch.equal(rows, torch.arange(len(vectors))):
        return vectors
    places = torch.empty(len(rows), vectors.shape[1])
    places[held], places[~held] = vectors[rows[held]], gone
    return places


def _checked_offsets(levels: Any, links: Any, entry: Any, steps: Any, count: int) -> Any:
    """Where the links of each slot begin, (S + 1,) uint64, if every link leads to a slot that has that level."""
    if {levels.dtype, links.dtype, entry.dtype} != {np.dtype(np.int32)} or levels.shape != (count,):
        raise ValueError(f"the graph does not describe {count} slots")
    if count and not 1 <= levels.min() <= levels.max() < len(steps):
        raise ValueError(f"the levels of the graph go beyond 1 to {len(steps) - 1}")
    offsets = np.concatenate([[0], np.cumsum(steps[levels], dtype=np.int64)])
    if links.shape != (offsets[-1],) or (count and not -1 <= links.min() <= links.max() < count):
        raise ValueError("the graph has links that lead nowhere")
    first = int(entry[0]) if entry.shape == (1,) else count
    if first != -1 if not count else not 0 <= first < count or levels[first] != levels.max():
        raise ValueError("the graph has no entry that can be entered")
    for level in range(1, levels.max(initial=0)):
        nodes = np.flatnonzero(levels > level)
        ends = links[offsets[nodes][:, None] + np.arange(steps[level], steps[level + 1])]
        if (levels[ends[ends >= 0]] <= level).any():
            raise ValueError(f"the graph has links on level {level} to slots that do not reach it")
    return offsets.astype(np.uint64)

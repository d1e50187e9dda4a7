"""What an index misses: its answers beside those of exact search among the vectors it stores."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.neighbours import Gallery
from fashreg.functional.similarity import unit_rows
from fashreg.interfaces import Index


def exact_ids(index: Index, queries: Tensor, k: int, query_ids: Tensor | None = None) -> Tensor:
    """(Q, min(k, N)) ids of the true nearest among the stored vectors. queries: (Q, D)."""
    vectors, ids = index.vectors()
    asked = unit_rows(queries.float()) if getattr(index, "metric", "") == "cosine" else queries
    return Gallery(vectors, ids).search(asked, min(k, len(ids)), query_ids).ids


def recall_of(
    index: Index, queries: Tensor, k: int = 10, *, query_ids: Tensor | None = None, true: Tensor | None = None
) -> float:
    """Share of the true k nearest that the index finds for these queries (Q, D).

    query_ids: as for search. true: what `exact_ids` gave, when it is known.
    """
    true = exact_ids(index, queries, k, query_ids) if true is None else true
    found = index.search(queries, true.shape[1], query_ids=query_ids).ids
    there = (found[:, :, None] == true[:, None, :]).any(1) & (true >= 0)
    return float(there.sum() / (true >= 0).sum().clamp(min=1))


def sample_rows(index: Index, count: int = 1000) -> tuple[Tensor, Tensor]:
    """Some stored vectors (n, D) and their ids (n,), spread evenly: queries for measuring an index on itself."""
    vectors, ids = index.vectors()
    rows = torch.linspace(0, max(0, len(ids) - 1), min(count, len(ids))).round().long()
    return vectors[rows], ids[rows]

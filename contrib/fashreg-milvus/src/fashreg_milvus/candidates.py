"""What Milvus proposes, scored again from the vectors and put in the one order of all indexes."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.pair_scores import rank_candidates
from fashreg.values import Rankings
from fashreg_milvus.checks import UNIT
from fashreg_milvus.collection import Array


def ranked(queries: Tensor, ids: Array, rows: Array, own: Tensor, k: int) -> Rankings:
    """The k best of candidates `ids` (Q, C) with vectors `rows` (Q, C, D); -1 and the query's own id are left out."""
    names = torch.from_numpy(ids)
    places = torch.arange(names.numel()).view(names.shape)
    itself = (names == own[:, None]) & (own[:, None] >= 0)
    columns = places.masked_fill((names < 0) | itself, -1)
    return rank_candidates(queries, torch.from_numpy(rows).flatten(0, 1), names.flatten(), columns, k)


def longest(rows: Array, metric: str) -> Tensor:
    """Length of the longest row; with "inner" the longest candidate stands for the gallery's longest."""
    if metric == "cosine":
        return torch.tensor(1.0 + 2 * UNIT)
    lengths: Tensor = torch.linalg.vector_norm(torch.from_numpy(rows), dim=2)
    return lengths.max()


def put(found: Rankings, rows: Tensor, better: Rankings) -> None:
    """Write rankings over those of some queries (Q,) bool."""
    found.ids[rows], found.scores[rows] = better.ids, better.scores


def nothing(queries: int, k: int) -> Rankings:
    """Rankings whose places are all empty."""
    return Rankings(torch.full((queries, k), -1), torch.full((queries, k), -torch.inf))


def merged(found: list[Rankings], k: int) -> Rankings:
    """The k best of several rankings of the same queries that share no id."""
    if len(found) == 1:
        return found[0]
    ids, order = torch.cat([part.ids for part in found], 1).sort(1)
    scores = torch.cat([part.scores for part in found], 1).gather(1, order)
    best = torch.sort(scores, dim=1, descending=True, stable=True)
    return Rankings(ids.gather(1, best.indices)[:, :k], best.values[:, :k])

"""Searching an index, then re-ranking what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fashreg.assembly import build
from fashreg.interfaces import Index, Reranker
from fashreg.values import Rankings


def rerankers_of(given: Any) -> list[Reranker]:
    """One reranker or several, each a name, a mapping {name, **options}, a class or an object; None for none."""
    if given is None:
        return []
    several = isinstance(given, Sequence) and not isinstance(given, str | Mapping)
    return [build("reranker", spec) for spec in (given if several else [given])]


def search_and_rerank(
    index: Index,
    queries: Tensor,
    k: int,
    rerankers: Sequence[Reranker] = (),
    *,
    query_ids: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Rankings:
    """The k best of each query after every reranker had its turn, each with the original queries. Rankings (Q, k).

    The first search goes as deep as the deepest reranker wants to see. query_ids, allowed: as Index.search takes them;
    k beyond the gallery pads.
    """
    width = max(k, min(len(index), max((r.depth for r in rerankers), default=1)))
    found = index.search(queries, width, query_ids=query_ids, allowed=allowed)
    for reranker in rerankers:
        found = reranker(queries, found, index, query_ids=query_ids, allowed=allowed)
    return found if width == k else Rankings(found.ids[:, :k], found.scores[:, :k])

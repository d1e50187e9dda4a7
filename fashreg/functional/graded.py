"""Relevance from what items have in common: several labels each, or attribute values, all of it or by degree.

The gallery is compared with every *distinct* query row once, block by block; pairs that have nothing in common are
never kept. What is kept is one id (and one grade) for each distinct query row and item relevant to it, 8 (16) bytes:
where most of a large gallery is relevant to every query, give the queries in blocks, or raise the threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fashreg.functional.relevance import checked_ids, checked_sources
from fashreg.values import Relevance

_BLOCK_BYTES = 1 << 25


def relevance_from_label_sets(
    query_labels: Tensor,
    query_ids: Tensor,
    gallery_labels: Tensor,
    gallery_ids: Tensor,
    *,
    at_least: int = 1,
    graded: bool = False,
    query_sources: Tensor | None = None,
    gallery_sources: Tensor | None = None,
    block_bytes: int = _BLOCK_BYTES,
) -> Relevance:
    """Multi-label relevance: an item is relevant when it shares at least `at_least` labels with the query.

    query_labels: (Q, C), gallery_labels: (N, C) bool or 0/1, a column for each label. An item without labels is
    relevant to nobody. graded: the grade is |shared| / |labels of either| (Jaccard); otherwise relevance is 0/1.
    query_ids: (Q,), gallery_ids: (N,) int64, sources: as `relevance_from_labels` takes them.
    """
    if at_least < 1:
        raise ValueError(f"at_least must be 1 or larger, got {at_least}: sharing nothing is not relevant")
    queries, gallery = _sets("query_labels", query_labels), _sets("gallery_labels", gallery_labels)
    _same_columns(queries, gallery, "labels")

    def grade(some: Tensor, others: Tensor) -> Tensor:
        asked, found = some.float(), others.float()
        shared = asked @ found.T  # counts below 2**24 are exact in fp32
        either = asked.sum(1)[:, None] + found.sum(1) - shared
        grades = shared.double() / either.clamp(min=1) if graded else torch.ones_like(shared)
        return torch.where(shared >= at_least, grades, 0)

    sources = (query_sources, gallery_sources)
    return _grouped(grade, queries, query_ids, gallery, gallery_ids, sources, graded, block_bytes)


def relevance_from_attributes(
    query_values: Tensor,
    query_ids: Tensor,
    gallery_values: Tensor,
    gallery_ids: Tensor,
    *,
    threshold: float = 0.0,
    query_sources: Tensor | None = None,
    gallery_sources: Tensor | None = None,
    block_bytes: int = _BLOCK_BYTES,
) -> Relevance:
    """Graded relevance: the grade of an item is the share of the attributes known of both in which the two are equal.

    query_values: (Q, A), gallery_values: (N, A) int64, one column for each attribute, negative = unknown. An item is
    relevant when its grade is above 0 and at least `threshold` (0..1); a pair without a common known attribute is not.
    query_ids: (Q,), gallery_ids: (N,) int64, sources: as `relevance_from_labels` takes them.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is a share of attributes, 0..1, got {threshold}")
    queries, gallery = _values("query_values", query_values), _values("gallery_values", gallery_values)
    _same_columns(queries, gallery, "attributes")
    largest = max(int(x.max()) if x.numel() else 0 for x in (queries, gallery))
    small = next((t for t in (torch.int8, torch.int16, torch.int32) if largest <= torch.iinfo(t).max), torch.int64)
    count = torch.uint8 if queries.shape[1] < 256 else torch.int32

    def grade(some: Tensor, others: Tensor) -> Tensor:
        equal, known = (torch.zeros(len(some), len(others), dtype=count, device=some.device) for _ in range(2))
        for a, b in zip(some.T, others.T, strict=True):
            asked, found = a.to(small)[:, None], b.to(small)
            equal += (asked == found) & (asked >= 0)
            known += (asked >= 0) & (found >= 0)
        grades = equal.double() / known.clamp(min=1)
        return grades.masked_fill_(grades < threshold, 0)

    sources = (query_sources, gallery_sources)
    return _grouped(grade, queries, query_ids, gallery, gallery_ids, sources, True, block_bytes)


Sources = tuple[Tensor | None, Tensor | None]


def _grouped(
    grade: Callable[[Tensor, Tensor], Tensor],
    queries: Tensor,
    query_ids: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    sources: Sources,
    graded: bool,
    block_bytes: int,
) -> Relevance:
    """One group for each distinct query row (with its source). grade: two blocks of rows -> (u, n), 0 = no."""
    query_ids, gallery_ids = checked_ids("query_ids", query_ids), checked_ids("gallery_ids", gallery_ids, unique=True)
    if len(queries) != len(query_ids) or len(gallery) != len(gallery_ids):
        raise ValueError("rows and ids must come in equal numbers, for the queries and for the gallery")
    asked, theirs = checked_sources(*sources, len(query_ids), len(gallery_ids))
    rows = queries if asked is None else torch.cat([queries.long(), asked.clamp(min=-1)[:, None]], 1)
    distinct, group = torch.unique(rows, dim=0, return_inverse=True) if len(rows) else (rows, query_ids)
    order = gallery_ids.argsort()
    gallery, theirs = gallery[order], None if theirs is None else theirs[order]
    step = max(1, block_bytes // max(1, 32 * len(gallery)))
    sizes, places, grades = [group[:0]], [group[:0].int()], [torch.zeros(0, dtype=torch.float64, device=group.device)]
    for start in range(0, len(distinct), step):
        block = distinct[start : start + step]
        found = grade(block[:, : queries.shape[1]], gallery)
        if theirs is not None:
            found.masked_fill_((block[:, -1:] == theirs) & (block[:, -1:] >= 0), 0)
        row, place = found.nonzero(as_tuple=True)
        sizes.append(torch.bincount(row, minlength=len(block)))
        places.append(place.int())
        if graded:
            grades.append(found[row, place].double())
    ends = torch.cat(sizes).cumsum(0)
    offsets = torch.cat([ends.new_zeros(1), ends])
    ids = gallery_ids[order][torch.cat(places)]
    return Relevance(query_ids, group, offsets, ids, torch.cat(grades) if graded else None)


def _sets(name: str, labels: Tensor) -> Tensor:
    if labels.ndim != 2 or (labels.dtype != torch.bool and not ((labels == 0) | (labels == 1)).all()):
        raise ValueError(f"{name} must be 0/1 with a column for each label, got {labels.dtype} {tuple(labels.shape)}")
    return labels.bool()


def _values(name: str, values: Tensor) -> Tensor:
    whole = not (values.dtype.is_floating_point or values.dtype.is_complex or values.dtype == torch.bool)
    if values.ndim != 2 or not whole:
        raise ValueError(
            f"{name} must be integers with a column for each attribute, got {values.dtype} {tuple(values.shape)}"
        )
    return values.long().clamp(min=-1)


def _same_columns(queries: Tensor, gallery: Tensor, what: str) -> None:
    if queries.shape[1] != gallery.shape[1] or not queries.shape[1]:
        raise ValueError(f"queries and gallery need the same {what}, got {queries.shape[1]} and {gallery.shape[1]}")

"""Which gallery items are relevant to which query, and which of the ranked ones are hits.

Relevance is kept by group (`fashreg.values.Relevance`), so labels cost O(N) and a ranking of K is judged in
O(Q K log N) or better. Labels and ids are int64 of any size; they are compared as integers and never become floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fashreg.functional.group_lookup import GroupLookup, places_in_groups
from fashreg.values import Relevance

_BLOCK = 1 << 20  # ranked items judged at once


def relevance_from_labels(
    query_labels: Tensor,
    query_ids: Tensor,
    gallery_labels: Tensor,
    gallery_ids: Tensor,
    *,
    query_sources: Tensor | None = None,
    gallery_sources: Tensor | None = None,
) -> Relevance:
    """An item is relevant to a query when both have the same label.

    query_labels, query_ids: (Q,) int64. gallery_labels, gallery_ids: (N,) int64. A query may itself be in the gallery;
    its own id is never relevant to it. A negative query id means that the query is in no gallery.
    query_sources: (Q,), gallery_sources: (N,) int64, both or none: an item of the query's own source (the same camera,
    shop or shoot) is not relevant to it either; negative = no source, excludes nothing.
    """
    query_labels, query_ids = _integers("query_labels", query_labels), _integers("query_ids", query_ids)
    labels, ids = _integers("gallery_labels", gallery_labels), checked_ids("gallery_ids", gallery_ids, unique=True)
    if query_labels.shape != query_ids.shape or labels.shape != ids.shape:
        raise ValueError("labels and ids must come in equal numbers, for the queries and for the gallery")
    order = ids.argsort()
    order = order[labels[order].argsort(stable=True)]
    names, sizes = torch.unique_consecutive(labels[order], return_counts=True)
    group = torch.searchsorted(names, query_labels)
    known = group < len(names)
    known[known.clone()] = names[group[known]] == query_labels[known]
    group[~known] = len(names)  # one more group, empty, for labels that the gallery does not have
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0), sizes.sum().reshape(1)])
    asked, sources = checked_sources(query_sources, gallery_sources, len(query_ids), len(ids))
    return Relevance(query_ids, group, offsets, ids[order], None, asked, None if sources is None else sources[order])


def relevance_from_pairs(
    query_ids: Tensor,
    relevant: Sequence[Sequence[int] | Tensor],
    grades: Sequence[Sequence[float] | Tensor] | None = None,
    *,
    gallery_ids: Tensor | None = None,
) -> Relevance:
    """Relevant ids named one by one.

    query_ids: (Q,) int64. relevant: Q lists of gallery ids, each id at most once in a list; a list may be empty.
    grades: Q lists of gains > 0 beside them, for nDCG. gallery_ids: when given, an id outside it is refused.
    """
    query_ids = _integers("query_ids", query_ids)
    lists = [_integers("relevant", torch.as_tensor(r)) if len(r) else query_ids[:0] for r in relevant]
    if len(lists) != len(query_ids) or (grades is not None and [len(g) for g in grades] != [len(r) for r in lists]):
        raise ValueError(f"{len(query_ids)} queries need as many lists of relevant ids, and grades of the same lengths")
    sizes = torch.tensor([len(r) for r in lists], dtype=torch.int64)
    ids = torch.cat(lists) if lists else torch.zeros(0, dtype=torch.int64)
    group = torch.arange(len(lists))
    owner = group.repeat_interleave(sizes)
    order = ids.argsort()
    order = order[owner[order].argsort(stable=True)]
    ids = ids[order]
    twice = (ids[1:] == ids[:-1]) & (owner[1:] == owner[:-1])
    if twice.any():
        at = int(twice.nonzero()[0])
        raise ValueError(f"query {int(query_ids[owner[at]])} names the relevant id {int(ids[at])} twice")
    if len(ids) and int(ids.min()) < 0:
        raise ValueError(f"relevant ids must be 0 or larger, got {int(ids.min())}")
    if gallery_ids is not None and not (inside := torch.isin(ids, gallery_ids)).all():
        raise ValueError(f"the relevant id {int(ids[~inside][0])} is not in the gallery")
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Relevance(query_ids, group, offsets, ids, None if grades is None else _gains(grades)[order])


def counts(relevance: Relevance) -> Tensor:
    """(Q,) int64: how many items are relevant to each query, itself and those of its own source left out."""
    first, last = relevance.offsets[relevance.group], relevance.offsets[relevance.group + 1]
    own = places_in_groups(relevance.offsets, relevance.ids, relevance.query_ids[:, None], relevance.group)
    listed = last - first - _same_source_counts(relevance)
    return listed - (_without_same_source(relevance, own, slice(None)) >= 0)[:, 0].long()


def hits(relevance: Relevance, ids: Tensor) -> Tensor:
    """(Q, K) bool: is the ranked item relevant? ids: (Q, K) int64, -1 pads; pads and the query itself are no hits."""
    found = torch.empty(ids.shape, dtype=torch.bool, device=ids.device)
    for rows, positions in hit_positions(relevance, ids):
        found[rows] = positions >= 0
    return found


def gains(relevance: Relevance, ids: Tensor) -> Tensor:
    """(Q, K) float64: the grade of each ranked item, 1 where relevance has no grades, 0 for what is no hit."""
    if relevance.grades is None:
        return hits(relevance, ids).double()
    grades = torch.cat([relevance.grades.double(), relevance.grades.new_zeros(1, dtype=torch.float64)])
    found = torch.empty(ids.shape, dtype=torch.float64, device=ids.device)
    for rows, positions in hit_positions(relevance, ids):
        found[rows] = grades[positions]  # position -1, no hit, is the zero at the end
    return found


def select(relevance: Relevance, rows: Tensor | slice) -> Relevance:
    """The same relevance for some of the queries. rows: positions (S,), a mask (Q,) or a slice."""
    sources = None if relevance.query_sources is None else relevance.query_sources[rows]
    return replace(relevance, query_ids=relevance.query_ids[rows], group=relevance.group[rows], query_sources=sources)


def relevant_of(relevance: Relevance, rows: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Tensor | None]:
    """The relevant ids of some queries, written out: offsets (S + 1,), ids ascending within a query, float64 grades.

    What counts as relevant is decided: the query itself and what its source excludes are left out. Takes memory for
    every pair, so ask for a block of queries at a time.
    """
    part = select(relevance, rows)
    first = part.offsets[part.group]
    sizes = part.offsets[part.group + 1] - first
    owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    at = torch.arange(len(owner), device=owner.device) + (first - (sizes.cumsum(0) - sizes))[owner]
    kept = part.ids[at] != part.query_ids[owner]
    if part.sources is not None and part.query_sources is not None:
        asked = part.query_sources[owner]
        kept &= (part.sources[at] != asked) | (asked < 0)
    at, sizes = at[kept], torch.bincount(owner[kept], minlength=len(sizes))
    grades = None if part.grades is None else part.grades.double()[at]
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), part.ids[at], grades


def hit_positions(relevance: Relevance, ids: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """By blocks of queries: where `relevance.ids` holds each ranked item; -1 for what is no hit. ids: (Q, K)."""
    if ids.ndim != 2 or len(ids) != len(relevance):
        raise ValueError(f"rankings of {len(relevance)} queries are (Q, K); got {tuple(ids.shape)}")
    many = ids.numel() > len(relevance.ids)
    groups = (relevance.offsets, relevance.ids)
    places = GroupLookup(*groups).positions if many else partial(places_in_groups, *groups)
    step = max(1, _BLOCK // max(1, ids.shape[1]))
    for start in range(0, len(ids), step):
        rows = slice(start, start + step)
        positions = places(ids[rows], relevance.group[rows])
        positions = torch.where(ids[rows] != relevance.query_ids[rows, None], positions, -1)
        yield rows, _without_same_source(relevance, positions, rows)


def checked_ids(name: str, ids: Tensor, *, unique: bool = False) -> Tensor:
    """ids as one row of int64; unique: also 0 or larger, and no two alike, as a gallery's are."""
    ids = _integers(name, ids)
    if unique:
        ordered = ids.sort().values
        if len(ids) and int(ordered[0]) < 0:
            raise ValueError(f"{name} must be 0 or larger, got {int(ordered[0])}")
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            raise ValueError(f"{name} must be unique; {int(twice[0])} occurs more than once")
    return ids


def checked_sources(
    query_sources: Tensor | None, gallery_sources: Tensor | None, queries: int, gallery: int
) -> tuple[Tensor | None, Tensor | None]:
    """Both as int64, or both None; ValueError when only one is given or their lengths do not fit."""
    if query_sources is None and gallery_sources is None:
        return None, None
    if query_sources is None or gallery_sources is None:
        raise ValueError("sources come for the queries and for the gallery, or for neither")
    asked, sources = _integers("query_sources", query_sources), _integers("gallery_sources", gallery_sources)
    if (len(asked), len(sources)) != (queries, gallery):
        raise ValueError(
            f"{queries} queries and {gallery} gallery rows need as many sources, got {len(asked)} and {len(sources)}"
        )
    return asked, sources


def _without_same_source(relevance: Relevance, positions: Tensor, rows: slice) -> Tensor:
    """positions (q, K) in `relevance.ids` with -1 in place of what the source of the query excludes."""
    if relevance.sources is None or relevance.query_sources is None or not len(relevance.sources):
        return positions
    asked = relevance.query_sources[rows, None]
    return torch.where((relevance.sources[positions] == asked) & (asked >= 0), -1, positions)


def _same_source_counts(relevance: Relevance) -> Tensor:
    """(Q,) int64: items of the query's group that its source excludes."""
    if relevance.sources is None or relevance.query_sources is None or not len(relevance.sources):
        return torch.zeros_like(relevance.group)
    names, code = torch.unique(relevance.sources, return_inverse=True)
    sizes = relevance.offsets.diff()
    groups = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    keys = (groups * len(names) + code).sort().values
    at = torch.searchsorted(names, relevance.query_sources).clamp_(max=len(names) - 1)
    known = (names[at] == relevance.query_sources) & (relevance.query_sources >= 0)
    wanted = relevance.group * len(names) + at
    found = torch.searchsorted(keys, wanted, right=True) - torch.searchsorted(keys, wanted)
    return torch.where(known, found, 0)


def _integers(name: str, values: Tensor) -> Tensor:
    if values.ndim != 1 or values.dtype.is_floating_point or values.dtype.is_complex or values.dtype == torch.bool:
        raise ValueError(f"{name} must be one row of integers (int64), got {values.dtype} {tuple(values.shape)}")
    return values.long().contiguous()


def _gains(grades: Sequence[Sequence[float] | Tensor]) -> Tensor:
    flat = torch.cat([torch.as_tensor(g, dtype=torch.float64) for g in grades] or [torch.zeros(0)])
    if not (torch.isfinite(flat) & (flat > 0)).all():
        raise ValueError("grades must be finite and larger than 0; leave out what is not relevant")
    return flat

"""Where the relevant items stand in the whole ranking, which is never made.

The rank of an item is 1 + the number of items that come before it: those of a larger score, and those of the same score
and a smaller id. So the scores of the relevant items are enough: every score of a block is made once, exactly
(`fashreg.functional.exact_keys`), counted against them and forgotten. Memory: a block of scores and the answer, which
holds one rank for each relevant item of each query.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from fashreg.functional.exclusion import Excluded
from fashreg.functional.judged import Judged
from fashreg.functional.neighbours import Gallery
from fashreg.functional.pair_scores import score_listed
from fashreg.functional.relevance import counts, relevant_of
from fashreg.functional.workers import Workers
from fashreg.values import Relevance

_BLOCK_BYTES = 1 << 27
_ROWS = 256  # queries counted together
_COMPARED = 16  # up to so many relevant items a query, counting by comparing; beyond, by sorting the scores
_ROWS_SORTED = 64
_SORTED_WIDTH = 1 << 16


@torch.no_grad()
def judge_whole(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance,
    gallery_ids: Tensor,
    query_ids: Tensor | None = None,
    query_sources: Tensor | None = None,
    gallery_sources: Tensor | None = None,
    *,
    block_bytes: int = _BLOCK_BYTES,
) -> Judged:
    """What `judge` finds in the whole ranking of every query, `nearest(..., k=WHOLE_RANKING)`, without making it.

    Arguments as of `nearest`. relevance: of the same queries, in the same order. The answer takes 8 bytes (16 with
    grades) for each relevant item of each query: where these are very many, ask for some of the queries at a time.
    """
    searched = Gallery(gallery, gallery_ids, gallery_sources)
    queries, excluded = searched.prepared(queries, query_ids, query_sources)
    if len(relevance) != len(queries):
        raise ValueError(f"relevance is of {len(relevance)} queries and {len(queries)} came")
    total = counts(relevance)
    order = total.argsort(stable=True)  # queries of like many relevant items are counted together
    need = (total[order] * 64 + 24 * queries.shape[1]).cumsum(0)
    found: list[tuple[Tensor, Tensor, Tensor | None]] = []
    start = 0
    while start < len(order):
        before = int(need[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(need, before + block_bytes // 4, right=True)))
        rows = order[start:stop]
        part = _Part(searched, queries[rows], excluded.of(rows), relevance, rows)
        part.count(block_bytes // 4)
        found += part.answers()
        start = stop
    return _judged(found, total, _items(excluded, len(searched), total), relevance.grades is not None)


class _Part:
    """Some of the queries, and everything that is relevant to them. rows: (q,) which of all queries they are."""

    def __init__(
        self, searched: Gallery, queries: Tensor, excluded: Excluded, relevance: Relevance, rows: Tensor
    ) -> None:
        self.searched, self.rows = searched, rows
        self.tiles = searched.exact(queries, excluded)
        offsets, ids, gains = relevant_of(relevance, rows)
        columns = searched.places(ids)
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(offsets.diff())
        there = (columns >= 0) & excluded.allows(owner, columns)  # what is not in the gallery has no rank
        owner, columns = owner[there], columns[there]
        scores = score_listed(queries, searched.vectors, owner, columns)
        self.owner, self.gains = owner, None if gains is None else gains[there]
        sizes = torch.bincount(owner, minlength=len(rows))
        ends, self.groups, start = sizes.cumsum(0), list[_Group](), 0
        while start < len(rows):
            stop = min(len(rows), start + _ROWS)
            if int(sizes[start:stop].max()) > _COMPARED:
                stop = min(stop, start + _ROWS_SORTED)
            flat = slice(int(ends[start] - sizes[start]), int(ends[stop - 1]))
            place = torch.arange(flat.start, flat.stop, device=owner.device) - (ends - sizes)[owner[flat]]
            at = (owner[flat] - start, place)
            shape = (stop - start, max(1, int(sizes[start:stop].max())))
            ranks = searched.ranks_of(columns[flat])
            self.groups.append(_Group(slice(start, stop), at, shape, scores[flat], ranks, columns[flat]))
            start = stop

    def count(self, budget: int) -> None:
        """Hold every score of these queries against their relevant items."""
        n, d = self.searched.vectors.shape
        width = max(1024, min(_SORTED_WIDTH, budget // (8 * d)))
        with Workers(len(self.groups), self.rows.device) as workers:
            for start in range(0, n, width):
                part = slice(start, min(start + width, n))
                block = self.searched.vectors[part].float().double()
                workers.each(partial(self._hold, part, block), self.groups)

    def _hold(self, part: slice, block: Tensor, group: _Group) -> None:
        """The scores of one block against what is relevant to one group of queries."""
        tiles = self.tiles.scores(group.rows, part, block)
        if group.many:
            tiles = iter([(part, torch.cat([scores for _, scores in tiles], 1))])
        for columns, scores in tiles:
            positions = torch.arange(columns.start, columns.stop, device=scores.device)
            group.count(scores, columns, self.searched.ranks_of(positions))

    def answers(self) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """[(H,) each: query, rank, gain]."""
        ranks = torch.cat([group.found() for group in self.groups])
        return [(self.rows[self.owner], ranks, self.gains)]


class _Group:
    """The relevant items of a few queries, (q, R) each, padded at the end of a row.

    rows: where the queries are in the part. at: (h,) twice, where the items stand here. scores: fp32, +inf pads. ranks:
    places of their ids among all, -1 pads. columns: their gallery rows, -1 pads. ahead: how many items come before
    each one, so far.
    """

    def __init__(
        self,
        rows: slice,
        at: tuple[Tensor, Tensor],
        shape: tuple[int, int],
        scores: Tensor,
        ranks: Tensor,
        columns: Tensor,
    ) -> None:
        self.rows, self.at, self.many = rows, at, shape[1] > _COMPARED
        self.scores = scores.new_full(shape, torch.inf)
        self.ranks, self.columns = ranks.new_full(shape, -1), columns.new_full(shape, -1)
        self.scores[at], self.ranks[at], self.columns[at] = scores, ranks, columns
        self.order = _argsort(self.scores) if self.many else None  # ascending needles are found several times sooner
        if self.order is not None:
            self.scores, self.ranks = self.scores.gather(1, self.order), self.ranks.gather(1, self.order)
            self.columns = self.columns.gather(1, self.order)
        self.ahead = torch.zeros_like(self.ranks)

    def found(self) -> Tensor:
        """(h,) rank of each item, in the order in which they came."""
        ahead = self.ahead if self.order is None else torch.empty_like(self.ahead).scatter_(1, self.order, self.ahead)
        return ahead[self.at] + 1

    def count(self, scores: Tensor, part: slice, ranks: Tensor) -> None:
        """Count a block of scores (q, n) of gallery rows `part`. ranks: (n,) places of their ids."""
        more, equal = (_by_sorting if self.many else _by_comparing)(scores, self.scores)
        self.ahead += more
        itself = (self.columns >= part.start) & (self.columns < part.stop)
        tied = (equal > itself).nonzero(as_tuple=True)
        step = max(1, (1 << 20) // scores.shape[1])
        for start in range(0, len(tied[0]), step):
            row, place = tied[0][start : start + step], tied[1][start : start + step]
            before = ranks < self.ranks[row, place][:, None]
            self.ahead[row, place] += (before & (scores[row] == self.scores[row, place][:, None])).sum(1)


def _by_comparing(scores: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(q, R) int64 each: how many of the scores are larger than what is wanted, and how many equal it."""
    more, least = torch.empty_like(wanted), torch.empty_like(wanted)
    room = torch.empty_like(scores)  # ones and zeros as fp32 add up fastest, and exactly below 2^24
    for at in range(wanted.shape[1]):
        more[:, at] = torch.gt(scores, wanted[:, at : at + 1], out=room).sum(1)
        least[:, at] = torch.ge(scores, wanted[:, at : at + 1], out=room).sum(1)
    return more.long(), (least - more).long()


def _by_sorting(scores: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The same for many."""
    ordered = (
        torch.from_numpy(np.sort(scores.numpy(), axis=1)) if scores.device.type == "cpu" else scores.sort(1).values
    )
    upto = torch.searchsorted(ordered, wanted, right=True)
    return scores.shape[1] - upto, upto - torch.searchsorted(ordered, wanted)


def _items(excluded: Excluded, gallery: int, like: Tensor) -> Tensor:
    """(Q,) int64: how many gallery rows each query may find."""
    items = torch.full_like(like, gallery)
    itself = torch.zeros_like(like, dtype=torch.bool) if excluded.own is None else excluded.own >= 0
    if excluded.query_sources is not None and excluded.gallery_sources is not None:
        asked = excluded.query_sources.long()
        sources = excluded.gallery_sources[excluded.gallery_sources >= 0]
        most = int(torch.cat([asked, sources, asked.new_zeros(1)]).max()) + 1
        sizes = torch.bincount(sources, minlength=most)
        items -= torch.where(asked >= 0, sizes[asked.clamp(min=0)], 0)
        if excluded.own is not None:  # itself left out by its source already
            itself &= (excluded.gallery_sources[excluded.own] != asked) | (asked < 0)
    return items - itself.long()


def _judged(found: list[tuple[Tensor, Tensor, Tensor | None]], counts: Tensor, items: Tensor, graded: bool) -> Judged:
    """Hits (query, rank, gain) in any order as they are kept: by query, then by rank."""
    owner = torch.cat([counts[:0], *(part[0] for part in found)])
    ranks = torch.cat([counts[:0], *(part[1] for part in found)])
    most = int(items.max()) + 1 if len(items) else 1
    sizes = torch.bincount(owner, minlength=len(counts))
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    order = _argsort((owner * most + ranks)[None])[0]
    gains = torch.cat([items[:0].double(), *(part[2] for part in found if part[2] is not None)])
    return Judged(offsets, ranks[order], counts, items, None, gains[order] if graded else None)


def _argsort(values: Tensor) -> Tensor:
    """Order of each row (Q, n), ascending; numpy sorts many times faster than torch on the CPU."""
    if values.device.type != "cpu":
        return values.argsort(1)
    return torch.from_numpy(np.argsort(values.numpy(), axis=1))

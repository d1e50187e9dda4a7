"""The k nearest by screening: rough scores of all, exact scores of the few that may be among the k.

Gallery rows come by blocks and tiles; each query keeps a `floor`, a number that its k-th best exact score is known to
reach. The rough scores of a tile (`fashreg.functional.screening`) are looked at by groups of columns: only where the
largest of a group, with its bound, reaches the floor are its members looked at, and those that reach it become
candidates. The floor comes from the k-th largest group, less the bound, until k exact scores are there, and from the
k-th of them afterwards. Nothing that belongs to the answer can be lost, so the answer depends on no block, tile or
bound. A query with too many candidates (all scores nearly equal) is given back as `hard`, to be scored whole.
"""

from __future__ import annotations

import threading
from functools import partial

import torch
from torch import Tensor

from fashreg.functional.exclusion import Excluded
from fashreg.functional.pair_scores import EMPTY, largest, pack, packed_scores, positions, score_listed
from fashreg.functional.screening import Screen
from fashreg.functional.workers import Workers

_GROUP = 32  # columns looked at together; a quarter of it where the gallery holds few groups for each of the k
_WIDTH = 2048  # columns of a tile, more where k is large or queries are few
_TILE = 1 << 21  # products of a tile
_BLOCK_BYTES = 1 << 23  # gallery rows, in fp32, that are rounded together
_SPACE = 160  # candidates that a query can hold beside 6 k


class _Block:
    """Gallery rows start..stop, in tiles. bounds: (Q, tiles) float64. places: (rows + 1,) where each row stands in the
    tiles laid end to end; the last one answers for -1.
    """

    def __init__(self, screen: Screen, gallery: Tensor, start: int, stop: int, width: int, group: int) -> None:
        self.start, self.stop = start, stop
        self.tiles = screen.tiles(gallery[start:stop].float(), width, group)
        self.bounds = screen.bounds(self.tiles)
        columns = torch.cat([tile.columns for tile in self.tiles])
        self.places = torch.full((stop - start + 1,), -1, device=columns.device)
        self.places[columns] = torch.arange(len(columns), device=columns.device)
        self.places[-1] = -1


class ScreenedSearch:
    """One search of queries (Q, D) fp32 in a gallery (N, D) of any float type.

    rank: (N,) int64, place of each row's id among the sorted ids; None where rows are sorted by id.
    """

    def __init__(self, gallery: Tensor, rank: Tensor | None, queries: Tensor, excluded: Excluded, k: int) -> None:
        self.gallery, self.rank, self.queries, self.excluded, self.k = gallery, rank, queries, excluded, k
        q, (n, d), device = len(queries), gallery.shape, queries.device
        self.group = _GROUP if n >= 4 * _GROUP * k else _GROUP // 4
        self.width = max(_WIDTH, self.group * (1 << (4 * k - 1).bit_length()))
        if q * self.width < _TILE:  # few queries: wider tiles, but a bounded copy of gallery rows that are not fp32
            self.width = max(self.width, min(_TILE // q, 4 * _BLOCK_BYTES // d) // self.group * self.group)
        self.rows = max(16, _TILE // self.width)
        self.block = max(self.width, _BLOCK_BYTES // (4 * d) // self.width * self.width)
        self.space = space_of(k)
        self.keys = torch.full((q, k), EMPTY, device=device)
        self.best = torch.full((q, k), -torch.inf, device=device)  # lower bounds on scores of k different items
        self.floor = torch.full((q,), -torch.inf, dtype=torch.float64, device=device)
        self.columns = torch.empty(q, self.space, dtype=torch.int32, device=device)
        self.upper = torch.empty(q, self.space, device=device)  # upper bounds on the scores of the candidates
        self.fill = torch.zeros(q, dtype=torch.int64, device=device)
        self.hard = torch.zeros(q, dtype=torch.bool, device=device)
        self._own = threading.local()

    def run(self, screen: Screen) -> tuple[Tensor, Tensor]:
        """keys (Q, k), best first, and hard (Q,) bool: the queries whose keys mean nothing."""
        n = len(self.gallery)
        parts = [slice(first, first + self.rows) for first in range(0, len(self.queries), self.rows)]
        with Workers(len(parts), self.queries.device) as workers:
            for start in range(0, n, self.block):
                block = _Block(screen, self.gallery, start, min(start + self.block, n), self.width, self.group)
                workers.each(partial(self._walk, screen, block), parts)
        return self.keys, self.hard

    def _walk(self, screen: Screen, block: _Block, rows: slice) -> None:
        """These queries through one block."""
        room = self._room(screen)
        own = self.excluded.own_within(rows, block.start, block.stop)
        own = None if own is None else block.places[own]
        for at, tile in enumerate(block.tiles):
            products, columns = screen.products(tile, rows, room), tile.columns + block.start
            if int(tile.columns[-1]) < 0:
                products[:, (tile.columns < 0).nonzero().flatten()] = screen.lowest
            here = None if own is None else own - at * self.width
            self.excluded.cover(products, rows, columns, here, screen.lowest)
            step = screen.step[rows] * tile.step
            self._visit(products, columns, rows, step, screen.offset[rows], block.bounds[rows, at])
        last = block.stop == len(self.gallery)
        if last or block.start == 0 or int(self.fill[rows].sum()) > self.k * self.rows:
            self._settle(rows)

    def _room(self, screen: Screen) -> Tensor:
        """Memory for the products of a tile, one for each thread and written over and over."""
        if not hasattr(self._own, "room"):
            self._own.room = screen.room(self.rows * (self.width + self.group))
        room: Tensor = self._own.room
        return room

    def _visit(
        self, products: Tensor, columns: Tensor, rows: slice, scale: Tensor, shift: Tensor, bound: Tensor
    ) -> None:
        """Collect what may be among the k in one tile. scale, shift, bound: (q,) float64."""
        grouped = products.view(len(products), -1, self.group)
        tops = grouped.amax(2)
        if bool((self.keys[rows, -1] == EMPTY).any()):
            self._raise_floor(rows, tops, scale, shift - bound)
        limit = _as_limit((self.floor[rows] - shift - bound) / scale, products)
        chosen = positions(tops >= limit[:, None])
        if not len(chosen):
            return
        members = grouped.view(-1, self.group).index_select(0, chosen)
        owner = torch.div(chosen, tops.shape[1], rounding_mode="floor")
        inside = positions(members >= limit.index_select(0, owner)[:, None])
        group = torch.div(inside, self.group, rounding_mode="floor")
        owner = owner.index_select(0, group)
        place = (
            chosen.index_select(0, group).remainder_(tops.shape[1]).mul_(self.group).add_(inside.remainder(self.group))
        )
        value = members.view(-1).index_select(0, inside).double()
        upper = value.mul_(scale.index_select(0, owner)).add_((shift + bound).index_select(0, owner))
        self._collect(rows, owner, columns.index_select(0, place), upper)

    def _raise_floor(self, rows: slice, tops: Tensor, scale: Tensor, shift: Tensor) -> None:
        """The k-th largest lower bound among the groups seen: k different items score at least that."""
        lower = torch.addcmul(shift[:, None], tops.double(), scale[:, None]).float()
        empty = -torch.inf if tops.dtype.is_floating_point else torch.iinfo(tops.dtype).min
        lower.masked_fill_(tops == empty, -torch.inf)
        best = largest(torch.cat([self.best[rows], lower], 1), self.k)
        self.best[rows] = best
        self.floor[rows] = torch.maximum(self.floor[rows], best[:, -1].double())

    def _collect(self, rows: slice, owner: Tensor, columns: Tensor, upper: Tensor) -> None:
        """Keep candidates, (P,) each, owner ascending; queries for which there is no room become hard."""
        fill = self.fill[rows]
        count = torch.bincount(owner, minlength=len(fill))
        if int((fill + count).max()) > self.space:
            self._settle(rows)
            fill = self.fill[rows]
            full = fill + count > self.space
            self.hard[rows] |= full
            self.floor[rows] = self.floor[rows].masked_fill(full, torch.inf)
            kept = ~full[owner]
            owner, columns, upper, count = owner[kept], columns[kept], upper[kept], count.masked_fill(full, 0)
        first = fill - count.cumsum(0) + count + torch.arange(len(fill), device=fill.device) * self.space
        at = torch.arange(len(owner), device=owner.device).add_(first.index_select(0, owner))
        self.columns[rows].view(-1).index_copy_(0, at, columns.int())
        self.upper[rows].view(-1).index_copy_(0, at, upper.float())
        self.fill[rows] = fill + count

    def _settle(self, rows: slice) -> None:
        """Score those candidates of these queries exactly that still reach the floor, and keep the k best."""
        fill = self.fill[rows].clone()
        width = int(fill.max())
        self.fill[rows] = 0
        if not width:
            return
        alive = self.upper[rows, :width] >= self.floor[rows, None]
        alive &= torch.arange(width, device=fill.device) < fill[:, None]
        at = positions(alive)
        owner = torch.div(at, width, rounding_mode="floor")
        columns = self.columns[rows, :width].reshape(-1).index_select(0, at).long()
        scores = score_listed(self.queries[rows], self.gallery, owner, columns)
        found = torch.full((len(fill) * width,), EMPTY, device=fill.device)
        found[at] = pack(scores, columns if self.rank is None else self.rank[columns])
        keys = largest(torch.cat([self.keys[rows], found.view(len(fill), width)], 1), self.k)
        self.keys[rows] = keys
        known = packed_scores(keys[:, -1]).double().masked_fill_(keys[:, -1] == EMPTY, -torch.inf)
        self.floor[rows] = torch.maximum(self.floor[rows], known)


def space_of(k: int) -> int:
    """Candidates that a query can hold between two settlings."""
    return 6 * k + _SPACE


def _as_limit(limit: Tensor, products: Tensor) -> Tensor:
    """The least product that reaches `limit` (q,), in the type of the products; never the one of excluded items."""
    if not products.dtype.is_floating_point:
        most = torch.iinfo(products.dtype).max
        return limit.ceil().clamp_(-most, most).to(products.dtype)
    rounded = limit.float()
    down = torch.nextafter(rounded, rounded.new_tensor(-torch.inf))
    return torch.where(rounded.double() > limit, down, rounded).clamp_(min=torch.finfo(torch.float32).min)

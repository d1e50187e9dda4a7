"""The exact scores of whole blocks: fp64 products, each the fp32 score that `score_pairs` gives for that pair.

A product summed in any order lies within D 2^-52 |q| |g| of the sum that defines the score. Where both ends of that
interval round to one fp32 number, that number is the score; the few pairs that remain (some in a million) are
scored singly. So blocks may be cut as one likes, on any machine, and the scores stay the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fashreg.functional.exclusion import Excluded
from fashreg.functional.pair_scores import EMPTY, largest, pack, positions, score_listed
from fashreg.functional.similarity import full_precision
from fashreg.functional.workers import Workers

_WIDTH = 1024  # gallery rows of a tile; with _ROWS queries its products stay in the cache
_ROWS = 256


class ExactTiles:
    """Queries (Q, D) fp32 against gallery rows (N, D), tile by tile.

    gallery: any float type; fp32 numbers are what counts. largest: the length of its longest row.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, excluded: Excluded, largest: float) -> None:
        self.queries, self.gallery, self.excluded = queries, gallery, excluded
        self._wide = queries.double()
        lengths = torch.linalg.vector_norm(self._wide, dim=1)
        self._error = lengths * (largest * (queries.shape[1] + 8) * 2.0**-51)

    def blocks(self, rows: int) -> Iterator[tuple[slice, Tensor]]:
        """The gallery in parts of about `rows`: where they stand and the rows in fp64."""
        for start in range(0, len(self.gallery), rows):
            part = slice(start, min(start + rows, len(self.gallery)))
            yield part, self.gallery[part].float().double()

    def scores(self, rows: slice, part: slice, block: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """(q, n) fp32 scores of these queries by tiles of a gallery part; -inf where excluded."""
        own = self.excluded.own_within(rows, part.start, part.stop)
        size = len(self._wide[rows])
        room = self._wide.new_empty(size * min(_WIDTH, len(block)))
        for left in range(0, len(block), _WIDTH):
            tile = block[left : left + _WIDTH]
            columns = slice(part.start + left, part.start + left + len(tile))
            found = self._tile(rows, tile, columns, room[: size * len(tile)].view(size, len(tile)))
            there = torch.arange(columns.start, columns.stop, device=found.device)
            self.excluded.cover(found, rows, there, None if own is None else own - left, -torch.inf)
            yield columns, found

    def _tile(self, rows: slice, tile: Tensor, columns: slice, room: Tensor) -> Tensor:
        queries, error = self._wide[rows], self._error[rows, None]
        with full_precision(queries):
            wide = torch.mm(queries, tile.T, out=room)
        low = wide.sub_(error).float()
        high = wide.add_(2 * error).float()
        unclear = positions(low != high)
        if len(unclear):
            owner = torch.div(unclear, len(tile), rounding_mode="floor")
            scores = score_listed(self.queries[rows], self.gallery[columns], owner, unclear % len(tile))
            low.view(-1).index_copy_(0, unclear, scores)
        return low


def best_keys(tiles: ExactTiles, rank: Tensor | None, k: int, block_bytes: int) -> Tensor:
    """(Q, k) keys of the k best of each query, best first, every pair scored."""
    q, (n, d) = len(tiles.queries), tiles.gallery.shape
    found = torch.full((q, k), EMPTY, device=tiles.queries.device)
    with Workers(-(-q // _ROWS), found.device) as workers:
        share = block_bytes // workers.size
        rows = max(1, min(_ROWS, share // (64 * (k + _WIDTH))))
        width = max(_WIDTH, min(n, block_bytes // (16 * d), share // (64 * rows)))
        for part, block in tiles.blocks(width):

            def merge(chunk: slice, part: slice = part, block: Tensor = block) -> None:
                keys = [found[chunk]]
                for columns, scores in tiles.scores(chunk, part, block):
                    ranks = _ranks(rank, columns, scores)
                    keys.append(pack(scores, ranks).masked_fill_(scores == -torch.inf, EMPTY))
                found[chunk] = largest(torch.cat(keys, 1), k)

            workers.each(merge, [slice(start, start + rows) for start in range(0, q, rows)])
    return found


def _ranks(rank: Tensor | None, columns: slice, like: Tensor) -> Tensor:
    return torch.arange(columns.start, columns.stop, device=like.device) if rank is None else rank[columns]

"""Rough scores with a proven bound on their error: who may be among the nearest, for a tenth of the exact products.

Queries and gallery are rounded to int8 and multiplied as whole numbers, which loses nothing more. With a query
q = a Q + d, a gallery row g = m + b G + r (m: a centre, equal for all rows; Q, G whole numbers in -127..127; d, r what
rounding took away) the score is

    q.g = q.m + a b Q.G + (d.(b G + r) + a Q.r),      |the bracket| <= |d| |g - m| + |a Q| |r|     (Cauchy-Schwarz)

so `offset + scale * product` is off by no more than a bound of each query and tile of gallery rows. Subtracting the
centre costs nothing, because q.m moves all scores of a query alike, and makes the bound follow how far the gallery
spreads and not how far it lies from zero. Rows of like size share a tile, so that few large numbers do not coarsen all.
Where this machine does not multiply int8 fast and exactly, the products are fp32: a = b = 1, m = 0 and the bound is the
one of rounding, D u |q| |g|.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from fashreg.functional.similarity import full_precision

LOWEST = -(2**31)  # an integer score below all others: the item is excluded
_MOST = 127
_FLOAT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-10, "medium": 2.0**-7}
_UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Some gallery rows as they are multiplied. codes: (n, D); n is a whole number of groups.

    columns: (n,) int64, the row of the block that stands there, -1 for padding. step: b. length: the largest |g - m|.
    lost: the largest |r|.
    """

    codes: Tensor
    columns: Tensor
    step: float
    length: float
    lost: float

    def __len__(self) -> int:
        return int(self.codes.shape[0])


class Screen:
    """Queries (Q, D) fp32, ready to be multiplied with tiles of a gallery.

    largest: no gallery row is longer. centre: (D,) fp32, about the mean of the gallery, for int8 products; any value is
    right. None: fp32 products.
    """

    def __init__(self, queries: Tensor, largest: float, centre: Tensor | None) -> None:
        self.centre, self.largest = centre, _slack(queries.shape[1]) * largest
        self._length = _slack(queries.shape[1]) * _lengths(queries)
        if centre is None:
            self.codes, self.step = queries, torch.ones_like(self._length)
            self.offset = torch.zeros_like(self._length)
            roundoff = _FLOAT_ROUNDOFF[torch.get_float32_matmul_precision()]
            self._kept, self._lost = self.offset, self._length * ((queries.shape[1] + 8) * roundoff)
            self._centre_length = 0.0
        else:
            step = (queries.abs().amax(1) / _MOST).clamp_(min=1e-30)
            whole = (queries / step[:, None]).round_().clamp_(-_MOST, _MOST)
            self.codes, self.step = whole.to(torch.int8), step.double()
            self.offset = torch.mv(queries.double(), centre.double())
            kept = whole.mul_(step[:, None])
            self._kept = _slack(queries.shape[1]) * _lengths(kept)
            self._lost = _slack(queries.shape[1]) * _lengths(queries - kept)
            self._centre_length = float(torch.linalg.vector_norm(centre.double()))

    def tiles(self, block: Tensor, width: int, multiple: int) -> list[Tile]:
        """Gallery rows (n, D) fp32 cut into tiles of about `width`, each a multiple of `multiple` rows long."""
        if self.centre is None:
            columns = torch.arange(len(block), device=block.device)
            tiles = [Tile(block[at : at + width], columns[at : at + width], 1.0, self.largest, 0.0)
                     for at in range(0, len(block), width)]  # fmt: skip
        else:
            block = block - self.centre
            sizes = block.abs().amax(1)
            order = torch.from_numpy(np.argsort(sizes.numpy())) if sizes.device.type == "cpu" else sizes.argsort()
            tiles = [_coded(block.index_select(0, at), at, float(sizes[at[-1]])) for at in torch.split(order, width)]
        return [*tiles[:-1], _padded(tiles[-1], multiple)]

    def bounds(self, tiles: list[Tile]) -> Tensor:
        """(Q, tiles) float64: how far `offset + step * tile.step * product` may lie from a score in fp32."""
        about = torch.tensor([[t.length, t.lost] for t in tiles], dtype=torch.float64, device=self.step.device)
        tiny = 2.0**-20 * self._length  # the roundings of fp32 itself
        by_tile = torch.stack([self._lost + tiny, self._kept], 1) @ about.T
        return by_tile.add_((tiny * self._centre_length)[:, None]).add_(1e-35)

    def products(self, tile: Tile, rows: slice, room: Tensor) -> Tensor:
        """(q, n) int32 or fp32, written into `room`: fresh memory would cost more than the product."""
        left = self.codes[rows]
        out = room[: len(left) * len(tile)].view(len(left), len(tile))
        if self.centre is not None:
            return torch._int_mm(left, tile.codes.T, out=out)
        with full_precision(left):
            return torch.mm(left, tile.codes.T, out=out)

    def room(self, size: int) -> Tensor:
        """Memory for products."""
        kind = torch.float32 if self.centre is None else torch.int32
        return torch.empty(size, dtype=kind, device=self.codes.device)

    @property
    def lowest(self) -> float:
        """What stands for an excluded item among the products."""
        return -torch.inf if self.centre is None else LOWEST


def _slack(depth: int) -> float:
    """Lengths of rows are computed in fp32; times this they are no shorter than the true ones."""
    return 1 + (depth + 8) * 2 * _UNIT_ROUNDOFF


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.double()


def _coded(rows: Tensor, columns: Tensor, size: float) -> Tile:
    """A tile of centred rows in whole numbers of one step. size: the largest number in them. `rows` is overwritten."""
    step, slack = max(size, 1e-28) / _MOST, _slack(rows.shape[1])
    length = slack * float(_lengths(rows).max())
    whole = (rows / step).round_().clamp_(-_MOST, _MOST)
    lost = slack * float(_lengths(rows.add_(whole, alpha=-step)).max()) + 4 * _UNIT_ROUNDOFF * length
    return Tile(whole.to(torch.int8), columns, step, length, lost)


def _padded(tile: Tile, multiple: int) -> Tile:
    missing = -len(tile) % multiple
    if not missing:
        return tile
    codes = torch.nn.functional.pad(tile.codes, (0, 0, 0, missing))
    columns = torch.nn.functional.pad(tile.columns, (0, missing), value=-1)
    return Tile(codes, columns, tile.step, tile.length, tile.lost)


@cache
def integers_pay(device: str) -> bool:
    """Whether int8 products are exact here and at least twice as fast as fp32; measured once, in milliseconds.

    The answer changes the time a search takes and never what it finds.
    """
    if device != "cpu":
        return False
    full = torch.full((64, 256), _MOST, dtype=torch.int8)
    full[1::2] = -_MOST
    try:
        found = torch._int_mm(full, full.T)
    except (AttributeError, RuntimeError):
        return False
    if not torch.equal(found.double(), full.double() @ full.double().T):
        return False  # sums that saturate
    small, wide = torch.ones(256, 128, dtype=torch.int8), torch.ones(2048, 128, dtype=torch.int8)
    fast = _least_time(small, wide, torch._int_mm, torch.empty(256, 2048, dtype=torch.int32))
    return 2 * fast < _least_time(small.float(), wide.float(), torch.mm, torch.empty(256, 2048))


def _least_time(left: Tensor, right: Tensor, multiply: object, out: Tensor) -> float:
    least = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        multiply(left, right.T, out=out)  # type: ignore[operator]
        least = min(least, time.perf_counter() - start)
    return least

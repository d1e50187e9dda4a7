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

    centre: (D,) fp64, about the mean of the gallery; any value is right. integers: int8 products or fp32 ones.
    """

    def __init__(self, queries: Tensor, centre: Tensor, integers: bool) -> None:
        self.integers, depth = integers, queries.shape[1]
        self.codes, self.step = _rounded(queries) if integers else (queries, queries.new_ones(len(queries)))
        self.centre = centre if integers else torch.zeros_like(centre)
        self.offset = torch.mv(queries.double(), self.centre)
        slack = 1 + (depth + 8) * 2 * _UNIT_ROUNDOFF  # of the lengths below, computed in fp32
        self._length = slack * _lengths(queries)
        if integers:
            kept = self.codes.float() * self.step[:, None]
            self._kept, self._lost = slack * _lengths(kept), slack * _lengths(queries - kept)
        else:
            roundoff = _FLOAT_ROUNDOFF[torch.get_float32_matmul_precision()]
            self._kept, self._lost = torch.zeros_like(self._length), self._length * ((depth + 8) * roundoff)
        self._centre_length = float(torch.linalg.vector_norm(self.centre))
        self.step = self.step.double()

    def tiles(self, block: Tensor, width: int, multiple: int) -> list[Tile]:
        """Gallery rows (n, D) fp32 cut into tiles of about `width`, each a multiple of `multiple` rows long."""
        columns = torch.arange(len(block), device=block.device)
        if not self.integers:
            return [_plain(block[at : at + width], columns[at : at + width], multiple)
                    for at in range(0, len(block), width)]  # fmt: skip
        block = block - self.centre.float()
        low, high = block.aminmax(dim=1)
        order = torch.maximum(-low, high).argsort()
        return [_coded(block[at], at, multiple) for at in torch.split(order, width)]

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
        if self.integers:
            return torch._int_mm(left, tile.codes.T, out=out)
        with full_precision(left):
            return torch.mm(left, tile.codes.T, out=out)

    def room(self, size: int) -> Tensor:
        """Memory for products."""
        return torch.empty(size, dtype=torch.int32 if self.integers else torch.float32, device=self.codes.device)

    @property
    def lowest(self) -> float:
        """What stands for an excluded item among the products."""
        return LOWEST if self.integers else -torch.inf


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (R, D) int8 and the step (R,) between them, one for each row."""
    low, high = rows.aminmax(dim=1)
    step = (torch.maximum(-low, high) / _MOST).clamp(min=1e-30)
    return (rows / step[:, None]).round_().clamp_(-_MOST, _MOST).to(torch.int8), step


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.double()


def _coded(rows: Tensor, columns: Tensor, multiple: int) -> Tile:
    """A tile of centred rows in whole numbers of one step."""
    low, high = rows.aminmax()
    step = max(-float(low), float(high), 1e-28) / _MOST
    whole = (rows / step).round_().clamp_(-_MOST, _MOST)
    slack = 1 + (rows.shape[1] + 8) * 2 * _UNIT_ROUNDOFF
    length = slack * float(_lengths(rows).max())
    lost = slack * float(_lengths(rows - whole * step).max()) + 4 * _UNIT_ROUNDOFF * length
    return _padded(Tile(whole.to(torch.int8), columns, step, length, lost), multiple)


def _plain(rows: Tensor, columns: Tensor, multiple: int) -> Tile:
    """A tile of rows as they are."""
    slack = 1 + (rows.shape[1] + 8) * 2 * _UNIT_ROUNDOFF
    return _padded(Tile(rows, columns, 1.0, slack * float(_lengths(rows).max()), 0.0), multiple)


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

"""Shapes in whole numbers only: curves, poses and filled polygons, so that every machine paints the same pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Point = tuple[int, int]

_QUARTER = (1024, 989, 887, 724, 512, 265)  # cosine of 0, 15, .. 75 degrees in 1/1024
_FALL = (*_QUARTER, 0, *(-c for c in _QUARTER[:0:-1]))
_COSINE = (*_FALL, *(-c for c in _FALL))


class Region(NamedTuple):
    """Some pixels of the canvas: a mask (h, w) whose first row and column are top and left."""

    top: int
    left: int
    mask: Mask

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the mask lies on the canvas."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where garment units (x right, y down) land on the canvas: pixels = matrix @ units / 65536 + offset."""

    matrix: tuple[int, int, int, int]
    offset: Point

    @staticmethod
    def of(scale: int, half_tangent: int, squeeze: int, lean: int, offset: Point) -> Pose:
        """scale: pixels per unit in 1/65536. half_tangent: tan(angle / 2) in 1/1024, for a rotation without sines.
        squeeze: width factor in 1/1024. lean: shear of x by y in 1/1024."""
        t, whole = half_tangent, 1024 * 1024
        cos, sin, norm = whole - t * t, 2 * 1024 * t, whole + t * t
        a, b = scale * squeeze // 1024, scale * lean // 1024
        return Pose(
            (cos * a // norm, (cos * b - sin * scale) // norm, sin * a // norm, (sin * b + cos * scale) // norm), offset
        )

    def place(self, points: Sequence[Point]) -> Ints:
        """(V, 2) pixels of points in units."""
        a, b, c, d = self.matrix
        units = np.array(points, dtype=np.int64)
        x, y = units[:, 0], units[:, 1]
        return np.stack([((a * x + b * y) >> 16) + self.offset[0], ((c * x + d * y) >> 16) + self.offset[1]], axis=1)

    def units(self, window: tuple[slice, slice]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The garment units (u, v) under every pixel of a window of the canvas; each (h, w)."""
        a, b, c, d = self.matrix
        determinant = a * d - b * c
        x = np.arange(window[1].start, window[1].stop, dtype=np.int64)[None, :] - self.offset[0]
        y = np.arange(window[0].start, window[0].stop, dtype=np.int64)[:, None] - self.offset[1]
        inverse = [(value << 32) // determinant for value in (d, -b, -c, a)]
        u, v = (inverse[0] * x + inverse[1] * y) >> 16, (inverse[2] * x + inverse[3] * y) >> 16
        return u.astype(np.int32), v.astype(np.int32)


def curve(start: Point, control: Point, end: Point, steps: int = 8) -> list[Point]:
    """Points of a quadratic Bezier curve, without its start."""
    points = []
    for k in range(1, steps + 1):
        a, b, c = (steps - k) ** 2, 2 * k * (steps - k), k * k
        x, y = ((a * s + b * m + c * e) // steps**2 for s, m, e in zip(start, control, end, strict=True))
        points.append((x, y))
    return points


def ellipse(centre: Point, rx: int, ry: int) -> list[Point]:
    """A 24-cornered ellipse."""
    return [(centre[0] + rx * _COSINE[k] // 1024, centre[1] + ry * _COSINE[(k - 6) % 24] // 1024) for k in range(24)]


def mirrored(points: Sequence[Point]) -> list[Point]:
    """The same outline on the other side of x = 0."""
    return [(-x, y) for x, y in points]


def band(start: Point, end: Point, half_start: int, half_end: int) -> list[Point]:
    """A straight limb: four corners around the line from start to end."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max(1, math.isqrt(dx * dx + dy * dy))
    nx, ny = -dy, dx
    first = (nx * half_start // length, ny * half_start // length)
    last = (nx * half_end // length, ny * half_end // length)
    return [
        (start[0] + first[0], start[1] + first[1]),
        (end[0] + last[0], end[1] + last[1]),
        (end[0] - last[0], end[1] - last[1]),
        (start[0] - first[0], start[1] - first[1]),
    ]


def fill(corners: Ints, size: int) -> Region:
    """The pixels of a square canvas inside a closed polygon: even-odd rule, decided at the middle of each pixel."""
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), (corners.max(axis=0) + 1).tolist()
    outside = left < 0 or right > size
    left, top, right, bottom = (min(max(edge, 0), size) for edge in (left, top, right, bottom))
    toggles = np.zeros((bottom - top, right - left + 1), dtype=np.uint8)
    doubled = [(2 * (x - left), 2 * (y - top)) for x, y in corners.tolist()]
    for (x0, y0), (x1, y1) in zip(doubled, doubled[1:] + doubled[:1], strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        first, end = max(0, y0 // 2), min(bottom - top, y1 // 2)  # rows r whose middle 2 r + 1 lies in [y0, y1)
        if first < end:
            rows = np.arange(first, end)
            columns = (x0 + (2 * rows + 1 - y0) * (x1 - x0) // (y1 - y0) + 1) >> 1
            if outside:
                columns = np.minimum(np.maximum(columns, 0), right - left)
            toggles[rows, columns] ^= 1
    return Region(top, left, np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1].view(np.bool_))


def rim(region: Region, width: int) -> Region:
    """The pixels of a region that lie within `width` pixels of its edge, seen along rows and columns."""
    mask = region.mask
    padded = np.pad(mask, width)
    height, wide = mask.shape
    inner = mask.copy()
    for dy, dx in ((0, width), (2 * width, width), (width, 0), (width, 2 * width)):
        inner &= padded[dy : dy + height, dx : dx + wide]
    return Region(region.top, region.left, mask & ~inner)

"""What a garment's surface looks like: pattern, material and folds, painted over garment units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fashreg.data.atelier.design import Product
from fashreg.data.atelier.dice import Dice, noise
from fashreg.data.atelier.measures import hem_of
from fashreg.data.atelier.words import COLOURS

Grid = NDArray[np.int32]
Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
Fold = tuple[int, int, int, int]  # where it meets v = 0, slope in 1/1024, half width, depth in 1/256


def colours_of(product: Product) -> tuple[Colour, Colour]:
    """The first and the second colour of a product, its own tint included."""
    traits = product.traits
    tint = [traits["tint_0"], traits["tint_1"], traits["tint_2"]]
    first = [min(250, max(14, c + t)) for c, t in zip(COLOURS[product.values["colour"]], tint, strict=True)]
    second = [min(250, max(14, c - t)) for c, t in zip(COLOURS[product.accent], tint, strict=True)]
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def cloth_of(product: Product, u: Grid, v: Grid, folds: list[Fold]) -> Pixels:
    """(h, w, 3) colours of the cloth where the garment units (u, v) lie under the pixels."""
    first, second = (np.array(colour, dtype=np.int32) for colour in colours_of(product))
    share = _PATTERNS[product.values["pattern"]](product, u, v)
    if product.values["detail"] == "trim":
        share = np.where(v > hem_of(product) - 44, np.int32(4), share)
    palette = np.stack([(first * (4 - k) + second * k) // 4 for k in range(5)])
    tone = _MATERIALS[product.values["material"]](product, u, v) - np.minimum(u * u // 900, 54) + _creased(u, v, folds)
    np.maximum(tone, 0, out=tone)
    colour = np.empty((*u.shape, 3), dtype=np.uint8)
    for channel in range(3):
        colour[..., channel] = np.minimum(palette[:, channel][share] * tone >> 8, 255)
    return colour


def _plain(product: Product, u: Grid, v: Grid) -> Grid:
    return np.zeros_like(u)


def _stripes(product: Product, u: Grid, v: Grid) -> Grid:
    period = product.traits["period"]
    inside = (v + product.traits["phase_y"]) % period * 100 < product.traits["duty"] * period
    return inside.astype(np.int32) * 4


def _pinstripes(product: Product, u: Grid, v: Grid) -> Grid:
    period = max(30, product.traits["period"] // 2)
    return ((u + product.traits["phase_x"]) % period < 9).astype(np.int32) * 3


def _checks(product: Product, u: Grid, v: Grid) -> Grid:
    period, traits = product.traits["period"], product.traits
    across = (u + traits["phase_x"]) % period * 100 < traits["duty"] * period
    down = (v + traits["phase_y"]) % period * 100 < traits["duty"] * period
    return across.astype(np.int32) * 2 + down.astype(np.int32) * 2


def _cells(product: Product, u: Grid, v: Grid, period: int) -> tuple[Grid, Grid, Grid]:
    """Distances from the middle of the cell, rows shifted in turn, and a number 0..255 for each cell."""
    row = (v + product.traits["phase_y"]) // period
    shifted = u + product.traits["phase_x"] + (row & 1) * (period // 2)
    column = shifted // period
    which = noise(column, row, product.traits["salt"])
    return shifted - column * period - period // 2, v + product.traits["phase_y"] - row * period - period // 2, which


def _dots(product: Product, u: Grid, v: Grid) -> Grid:
    period = product.traits["period"] * 3 // 4
    du, dv, _ = _cells(product, u, v, period)
    radius = period * product.traits["duty"] // 180
    return (du * du + dv * dv < radius * radius).astype(np.int32) * 4


def _floral(product: Product, u: Grid, v: Grid) -> Grid:
    period = product.traits["period"] + 24
    du, dv, which = _cells(product, u, v, period)
    petal, far = period // 6, period // 5
    one, other = np.abs(du) - far, np.abs(dv) - far
    flower = (one * one + dv * dv < petal * petal) | (du * du + other * other < petal * petal)
    heart = du * du + dv * dv < (period // 10) ** 2
    share = flower.astype(np.int32) * 4 - (flower & heart).astype(np.int32) * 2
    blossoms: Grid = share * (which > 40).astype(np.int32)
    return blossoms


def _chevron(product: Product, u: Grid, v: Grid) -> Grid:
    period = product.traits["period"]
    zigzag = np.abs((u + product.traits["phase_x"]) % (2 * period) - period) * 3 // 4
    inside = (v + zigzag) % period * 100 < product.traits["duty"] * period
    return np.asarray(inside, dtype=np.int32) * 4


def _blocks(product: Product, u: Grid, v: Grid) -> Grid:
    edge = hem_of(product) * (35 + product.traits["salt"] % 30) // 100
    kind = product.traits["salt"] % 3
    beyond = v - edge if kind == 0 else (u * product.traits["side"] - 12 if kind == 1 else v - edge + u * 2 // 3)
    return (beyond > 0).astype(np.int32) * 4


_PATTERNS: dict[str, Callable[[Product, Grid, Grid], Grid]] = {
    "plain": _plain, "stripes": _stripes, "pinstripes": _pinstripes, "checks": _checks, "dots": _dots,
    "floral": _floral, "chevron": _chevron, "colour-block": _blocks,
}  # fmt: skip


def _cotton(product: Product, u: Grid, v: Grid) -> Grid:
    return 252 + (noise(u >> 4, v >> 4, 1) >> 5)


def _ribbed(product: Product, u: Grid, v: Grid) -> Grid:
    return 272 - np.abs(u % 30 - 15) * 6


def _denim(product: Product, u: Grid, v: Grid) -> Grid:
    tone: Grid = np.where((u + v) % 26 < 11, np.int32(218), np.int32(268)) + (noise(u >> 3, v >> 3, 2) >> 3)
    return tone


def _satin(product: Product, u: Grid, v: Grid) -> Grid:
    wave = np.abs((2 * u + v) % 300 - 150)
    tone: Grid = 226 + np.maximum(0, 110 - wave)
    return tone


def _tweed(product: Product, u: Grid, v: Grid) -> Grid:
    return 196 + (noise(u // 14, v // 14, product.traits["salt"]) * 3 >> 3)


def _leather(product: Product, u: Grid, v: Grid) -> Grid:
    shine = np.abs((u + (v >> 3) + 40) % 190 - 95)
    tone: Grid = 206 + np.maximum(0, 34 - shine) * 4 + (noise(u >> 4, v >> 4, 3) >> 5)
    return tone


_MATERIALS: dict[str, Callable[[Product, Grid, Grid], Grid]] = {
    "cotton": _cotton, "ribbed": _ribbed, "denim": _denim, "satin": _satin, "tweed": _tweed, "leather": _leather,
}  # fmt: skip


def folds_of(dice: Dice) -> list[Fold]:
    """Three creases."""
    return [
        (dice.between(-180, 180), dice.between(-500, 500), dice.between(14, 40), dice.between(20, 48)) for _ in range(3)
    ]


def _creased(u: Grid, v: Grid, folds: list[Fold]) -> Grid:
    """Soft dark creases, as change of tone."""
    tone = np.zeros_like(u)
    for start, slope, width, depth in folds:
        away = np.abs(u - start - (v * slope >> 10))
        tone -= np.maximum(0, width - away) * depth // width
    return tone

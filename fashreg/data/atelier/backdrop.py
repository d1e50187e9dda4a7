"""What lies behind a garment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fashreg.data.atelier.dice import Dice, noise

Canvas = NDArray[np.uint8]


def backdrop(shot: str, dice: Dice, size: int) -> Canvas:
    """(size, size, 3) uint8: studio white, a room, a table or a street."""
    if shot == "catalogue":
        return np.full((size, size, 3), dice.between(232, 250), dtype=np.uint8)
    if shot == "worn":
        return _room(dice, size)
    return _boards(dice, size) if shot == "flat" else _street(dice, size)


def _hue(dice: Dice, low: int, high: int) -> NDArray[np.int32]:
    """A muted colour: a grey from low to high, each channel moved a little."""
    grey = dice.between(low, high)
    return np.array([min(250, max(20, grey + dice.between(-34, 34))) for _ in range(3)], dtype=np.int32)


def _room(dice: Dice, size: int) -> Canvas:
    """A wall that grows darker, and a floor."""
    wall, floor, line = _hue(dice, 130, 235), _hue(dice, 70, 190), size * dice.between(70, 92) // 100
    fade = 256 - np.arange(size, dtype=np.int32) * dice.between(0, 90) // size
    canvas = np.empty((size, size, 3), dtype=np.uint8)
    canvas[:] = (wall * fade[:, None] >> 8)[None]
    canvas[line:] = (floor * fade[:, None] >> 8)[None]
    return canvas


def _boards(dice: Dice, size: int) -> Canvas:
    """A table of boards, a cloth of two colours, or tiles."""
    first, second = _hue(dice, 90, 225), _hue(dice, 70, 225)
    second = first - 22 if dice.chance(60) else second
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    wide, kind = size // dice.between(4, 9), dice.below(3)
    if kind == 0:
        grain = noise(x // wide, y >> 2, dice.below(1 << 20)) >> 4
        which = (x // wide) & 1
    else:
        grain = noise(x >> 3, y >> 3, dice.below(1 << 20)) >> (4 if kind == 1 else 5)
        which = ((x // wide) ^ (y // wide)) & 1 if kind == 2 else np.zeros_like(x)
    colours = np.stack([first, second])[which] - grain[..., None].astype(np.int32)
    canvas: Canvas = np.clip(colours, 0, 255).astype(np.uint8)
    return canvas


def _street(dice: Dice, size: int) -> Canvas:
    """Boxes of many colours: walls, windows, other people."""
    canvas = np.empty((size, size, 3), dtype=np.uint8)
    canvas[:] = _hue(dice, 90, 210).astype(np.uint8)
    canvas[size * dice.between(60, 85) // 100 :] = _hue(dice, 60, 150).astype(np.uint8)
    for _ in range(dice.between(6, 14)):
        top, left = dice.below(size), dice.below(size)
        tall, wide = size * dice.between(8, 50) // 100, size * dice.between(5, 28) // 100
        canvas[max(0, top - tall // 2) : top + tall // 2, max(0, left - wide // 2) : left + wide // 2] = _hue(
            dice, 30, 230
        ).astype(np.uint8)
    return canvas

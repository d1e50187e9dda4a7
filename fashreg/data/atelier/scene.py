"""One picture of a product: where it is shown, in which pose and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fashreg.data.atelier.backdrop import backdrop
from fashreg.data.atelier.body import body_behind
from fashreg.data.atelier.design import Product
from fashreg.data.atelier.dice import Dice
from fashreg.data.atelier.fabric import Colour, cloth_of, colours_of, folds_of
from fashreg.data.atelier.garment import parts_of
from fashreg.data.atelier.measures import Part, hem_of, is_bottom
from fashreg.data.atelier.raster import Point, Pose, Region, fill, rim

SHOTS = ("catalogue", "worn", "flat", "street")
_SUPER = 2  # the canvas has so many pixels per pixel of the picture, each way

Canvas = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Limits:
    """How far a kind of shot may go: tangent of half the angle, squeeze, lean in 1/1024; zoom in %; shift in %."""

    turn: int
    squeeze: int
    lean: int
    zoom: tuple[int, int]
    shift: int
    light: tuple[int, int]  # in 1/256
    cast: int  # per channel, in 1/256
    slope: int  # of the light across the picture, in 1/256


_LIMITS = {
    "catalogue": _Limits(12, 24, 12, (84, 94), 2, (244, 262), 5, 10),
    "worn": _Limits(50, 150, 60, (78, 104), 6, (205, 275), 22, 50),
    "flat": _Limits(260, 60, 90, (70, 92), 7, (210, 270), 18, 40),
    "street": _Limits(80, 240, 90, (74, 122), 12, (165, 280), 34, 80),
}


def picture(product: Product, view: int, seed: int, size: int) -> tuple[Canvas, str]:
    """(size, size, 3) uint8 and the kind of shot. Equal arguments give equal pixels on every machine."""
    shot = SHOTS[view % len(SHOTS)]
    dice = Dice(seed, 2, product.number, view)
    limits, canvas_size = _LIMITS[shot], size * _SUPER
    pose = _pose(product, limits, dice, canvas_size)
    canvas = backdrop(shot, dice, canvas_size)
    arms = _arms(dice, shot)
    parts = parts_of(product, arms)
    if shot in ("worn", "street"):
        for part, colour in body_behind(product, arms, dice):
            _paint(canvas, fill(pose.place(part.outline), canvas_size), colour, part)
    else:
        _shadow(canvas, pose, parts, dice)
    _dress(canvas, product, pose, parts, dice)
    if shot == "street" and dice.chance(45):
        _strap(canvas, pose, dice)
    return _lit(canvas, limits, dice, size), shot


def _pose(product: Product, limits: _Limits, dice: Dice, canvas: int) -> Pose:
    hem, top = hem_of(product), (0 if is_bottom(product) else -40)
    tall = max(hem - top, 560)
    scale = canvas * 65536 * dice.between(*limits.zoom) // (100 * (tall + 60))
    turn = dice.between(-limits.turn, limits.turn)
    squeeze, lean = 1024 - dice.below(limits.squeeze), dice.between(-limits.lean, limits.lean)
    shift = (dice.between(-limits.shift, limits.shift), dice.between(-limits.shift, limits.shift))
    pose = Pose.of(scale, turn, squeeze, lean, (0, 0))
    x, y = pose.place([(0, (hem + top) // 2)])[0].tolist()
    return Pose(pose.matrix, (canvas * (50 + shift[0]) // 100 - x, canvas * (50 + shift[1]) // 100 - y))


def _arms(dice: Dice, shot: str) -> tuple[Point, Point]:
    if shot == "catalogue":
        out = dice.between(300, 340)
        return (out, 480), (out, 480)
    left, right = dice.between(215, 420), dice.between(215, 420)
    return (left, 560 - left // 3), (right, 560 - right // 3)


def _dress(canvas: Canvas, product: Product, pose: Pose, parts: list[Part], dice: Dice) -> None:
    first, second = colours_of(product)
    colours: dict[str, Colour] = {"plain": first, "accent": second, "metal": (186, 188, 194), "lining": _dim(first)}
    regions = [fill(pose.place(part.outline), canvas.shape[0]) for part in parts]
    cloth, folds = np.empty_like(canvas), folds_of(dice)
    window = _hull([region for region, part in zip(regions, parts, strict=True) if part.paint == "cloth"])
    cloth[window] = cloth_of(product, *pose.units(window), folds)
    for part, region in zip(parts, regions, strict=True):
        _paint(canvas, region, cloth if part.paint == "cloth" else colours[part.paint], part)


def _hull(regions: list[Region]) -> tuple[slice, slice]:
    """The smallest window that holds all regions."""
    rows, columns = [region.window[0] for region in regions], [region.window[1] for region in regions]
    return (
        slice(min(s.start for s in rows), max(s.stop for s in rows)),
        slice(min(s.start for s in columns), max(s.stop for s in columns)),
    )


def _dim(colour: Colour) -> Colour:
    return colour[0] * 5 // 9, colour[1] * 5 // 9, colour[2] * 5 // 9


def _paint(canvas: Canvas, region: Region, paint: Colour | Canvas, part: Part) -> None:
    window, mask = canvas[region.window], region.mask[..., None]
    if isinstance(paint, tuple):
        tinted = np.array([min(255, c * part.tone >> 8) for c in paint], dtype=np.uint8)
    else:
        tinted = paint[region.window]
        tinted = tinted if part.tone == 256 else (tinted.astype(np.uint16) * part.tone >> 8).astype(np.uint8)
    np.copyto(window, tinted, where=mask)
    if part.edged:
        edge = rim(region, 2).mask
        window[edge] = window[edge] // 8 * 5


def _shadow(canvas: Canvas, pose: Pose, parts: list[Part], dice: Dice) -> None:
    away = canvas.shape[0] * dice.between(1, 3) // 100
    for part in parts:
        if part.paint == "cloth":
            window = fill(pose.place(part.outline) + away, canvas.shape[0])
            np.copyto(canvas[window.window], canvas[window.window] // 16 * 13, where=window.mask[..., None])


def _strap(canvas: Canvas, pose: Pose, dice: Dice) -> None:
    """A bag in front of the garment."""
    colour = (dice.between(20, 200), dice.between(20, 160), dice.between(20, 140))
    side = dice.one_of((-1, 1))
    strap = Part([(-170 * side, 20), (-140 * side, 10), (210 * side, 520), (180 * side, 530)], "plain")
    bag = Part([(120 * side, 500), (300 * side, 500), (310 * side, 660), (110 * side, 660)], "plain")
    for part in (strap, bag):
        _paint(canvas, fill(pose.place(part.outline), canvas.shape[0]), colour, part)


def _lit(canvas: Canvas, limits: _Limits, dice: Dice, size: int) -> Canvas:
    """The canvas in its light, scaled down to the picture."""
    small = np.zeros((size, size, 3), dtype=np.int32)
    for i in range(_SUPER * _SUPER):
        small += canvas[i // _SUPER :: _SUPER, i % _SUPER :: _SUPER]
    light = dice.between(*limits.light)
    cast = np.array([light + dice.between(-limits.cast, limits.cast) for _ in range(3)], dtype=np.int32)
    across, down = (dice.between(-limits.slope, limits.slope) for _ in range(2))
    steps = (np.arange(size, dtype=np.int32) * 2 - size).astype(np.int32)
    slope = steps[None, :, None] * across // size + steps[:, None, None] * down // size
    return np.clip(small * (cast + slope) // (256 * _SUPER * _SUPER), 0, 255).astype(np.uint8)

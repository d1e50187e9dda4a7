"""The person who wears a garment: drawn behind it, with plain clothes where the product covers nothing."""

from __future__ import annotations

from fashreg.data.atelier.design import Product
from fashreg.data.atelier.dice import Dice
from fashreg.data.atelier.measures import Part, hem_of, is_bottom, shoulder_of
from fashreg.data.atelier.raster import Point, band, ellipse, mirrored

Colour = tuple[int, int, int]

_SKIN: tuple[Colour, ...] = ((236, 200, 174), (214, 168, 134), (172, 122, 88), (118, 80, 58), (84, 58, 46))
_HAIR: tuple[Colour, ...] = ((40, 32, 30), (92, 62, 40), (190, 150, 90), (120, 118, 116))
_OTHER: tuple[Colour, ...] = ((44, 48, 60), (222, 220, 214), (96, 98, 102), (60, 78, 116), (134, 112, 88))


def body_behind(product: Product, arms: tuple[Point, Point], dice: Dice) -> list[tuple[Part, Colour]]:
    """Outlines and their colours, back to front, in the product's own units."""
    skin, hair, other = dice.one_of(_SKIN), dice.one_of(_HAIR), dice.one_of(_OTHER)
    if is_bottom(product):
        return _under_bottoms(product, skin, other)
    return _under_top(product, arms, skin, hair, other)


def _under_top(
    product: Product, arms: tuple[Point, Point], skin: Colour, hair: Colour, other: Colour
) -> list[tuple[Part, Colour]]:
    wide, hem = shoulder_of(product)[0], hem_of(product)
    parts = [
        (Part(ellipse((0, -150), 104, 128), "plain"), hair),
        (Part(ellipse((0, -136), 78, 104), "plain", edged=False), skin),
        (Part([(-46, -70), (46, -70), (130, 60), (0, 260), (-130, 60)], "plain", 244, edged=False), skin),
    ]
    for side, (x, y) in ((-1, arms[0]), (1, arms[1])):
        limb = [*band((wide - 46, 70), (x, y), 50, 34), (x, y)][:4]
        hand = ellipse((x + 4, y + 26), 34, 44)
        for outline in (limb, hand):
            parts.append((Part(outline if side > 0 else mirrored(outline), "plain", 250, edged=False), skin))
    legs = skin if product.values["category"] == "dress" else other
    for side in (-1, 1):
        parts.append((Part(band((side * 76, min(520, hem - 60)), (side * 84, 1240), 84, 56), "plain", 246), legs))
    return parts


def _under_bottoms(product: Product, skin: Colour, other: Colour) -> list[tuple[Part, Colour]]:
    hem, wide = hem_of(product), 128
    torso = [(-wide, 40), (-wide - 26, -220), (-190, -420), (190, -420), (wide + 26, -220), (wide, 40)]
    parts = [(Part(torso, "plain"), other)]
    for side in (-1, 1):
        parts.append((Part(band((side * 90, 120), (side * 96, max(hem, 300) + 420), 70, 44), "plain", 246), skin))
        parts.append((Part(band((side * 200, -400), (side * 236, 120), 44, 32), "plain", 250, edged=False), skin))
    return parts

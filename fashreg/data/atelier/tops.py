"""Everything that hangs from the shoulders: body, sleeves and neckline."""

from __future__ import annotations

from fashreg.data.atelier.design import Product
from fashreg.data.atelier.measures import CHEST, FLARE, SLEEVE, WAIST, Part, hem_of, neck_of, shoulder_of
from fashreg.data.atelier.raster import Point, band, curve, ellipse, mirrored


def top_parts(product: Product, arms: tuple[Point, Point]) -> list[Part]:
    """Outlines, back to front. arms: where the left and the right wrist are, x counted outwards."""
    kind, (neck, depth) = product.values["neckline"], neck_of(product)
    chest, shoulder = CHEST[product.values["fit"]], shoulder_of(product)
    if product.values["sleeve"] == "sleeveless":
        shoulder = (max(neck + 24, 150), 26)
    side = [(neck, 0), shoulder, *curve(shoulder, (chest - 14, 120), (chest, 200)), *_side(product, chest)]
    opening = _opening(kind, neck, depth)
    back = [(-neck, 0), *curve((-neck, 0), (0, 44), (neck, 0))]
    return [
        Part([*back, *opening], "lining"),
        *(Part(mirrored(part.outline), part.paint, part.tone, part.edged) for part in _sleeve(product, arms[0])),
        *_sleeve(product, arms[1]),
        Part([*side, *mirrored(side)[::-1], *opening[::-1]], "cloth"),
        *_collar(kind, neck, depth),
    ]


def _side(product: Product, chest: int) -> list[Point]:
    """From the right armpit down to the middle of the hem."""
    fit, hem, traits = product.values["fit"], hem_of(product), product.traits
    waist = WAIST[fit] + traits["waist"]
    end = waist + 22 + FLARE[fit] * max(1, hem - 300) // 400 + traits["hem"] // 2
    middle = 390 if hem > 450 else hem - 30
    upper = curve((chest, 200), (waist + 4, 300), (waist, middle), 6)
    lower = curve((waist, middle), (waist + 10, (390 + hem) // 2), (end, hem), 6)
    return [*upper, *lower, (0, hem + traits["hem_curve"])]


def _opening(kind: str, neck: int, depth: int) -> list[Point]:
    """The front edge of the neckline, from the right neck point to the left one, both left out."""
    if kind in ("v", "collar"):
        return [(0, depth)]
    if kind in ("square", "high"):
        inset = 6 if kind == "square" else 8
        return [(neck - inset, depth), (inset - neck, depth)]
    return curve((neck, 0), (0, 2 * depth), (-neck, 0), 10)[:-1]


def _sleeve(product: Product, wrist: Point) -> list[Part]:
    """The right sleeve: limb, the round of the shoulder, and a cuff."""
    share, values = SLEEVE[product.values["sleeve"]], product.values
    if not share:
        return []
    loose = {"slim": -10, "loose": 20}.get(values["fit"], 0)
    shoulder = shoulder_of(product)
    start = (shoulder[0] - 42, shoulder[1] + 56)
    end = _along(start, wrist, share)
    wide = 74 + loose // 2
    narrow = wide - (wide - 44 - loose - product.traits["cuff"]) * share // 100
    parts = [
        Part(band(start, end, wide, narrow), "cloth", 238),
        Part(ellipse(start, wide, wide - 6), "cloth", 238, edged=False),
    ]
    cuff = band(_along(start, wrist, share - 9), end, narrow + 2, narrow - 2)
    if values["detail"] == "trim":
        parts.append(Part(cuff, "accent"))
    elif values["category"] in ("sweater", "hoodie", "jacket") and share > 60:
        parts.append(Part(cuff, "plain", 214))
    return parts


def _along(start: Point, end: Point, percent: int) -> Point:
    return start[0] + (end[0] - start[0]) * percent // 100, start[1] + (end[1] - start[1]) * percent // 100


def _collar(kind: str, neck: int, depth: int) -> list[Part]:
    if kind == "high":
        front = curve((-neck, 6), (0, 34), (neck, 6))
        return [Part([(neck, 6), (neck - 10, depth - 24), (10 - neck, depth - 24), (-neck, 6), *front], "plain", 226)]
    if kind == "collar":
        wing = [(neck - 8, -26), (neck + 34, 26), (neck - 6, depth // 2 + 50), (6, depth - 4), (neck - 34, 14)]
        return [Part(wing, "plain", 232), Part(mirrored(wing), "plain", 232)]
    if kind == "hood":
        outer = curve((neck, 0), (neck + 60, 10), (neck + 26, 60))
        hood = [(neck, 0), *outer, *curve((neck + 26, 60), (20, 170), (0, 110))]
        hood += curve((0, 110), (neck - 30, 80), (neck - 24, -4))
        return [Part(hood, "plain", 222), Part(mirrored(hood), "plain", 222)]
    return []

"""Everything that hangs from the waist: trousers, shorts and skirts."""

from __future__ import annotations

from fashreg.data.atelier.design import Product
from fashreg.data.atelier.measures import CHEST, FLARE, LEG, Part, hem_of
from fashreg.data.atelier.raster import band, curve, mirrored


def bottom_parts(product: Product) -> list[Part]:
    """Outlines, back to front."""
    return _skirt(product) if product.values["category"] == "skirt" else _trousers(product)


def _trousers(product: Product) -> list[Part]:
    fit, hem, traits = product.values["fit"], hem_of(product), product.traits
    waist, hip = 132 + traits["waist"] // 2, CHEST[fit] - 4 + traits["shoulder"] // 2
    crotch, leg = 250 + traits["drop"] // 2, LEG[fit] + traits["cuff"] // 2
    if product.values["category"] == "shorts":
        leg, crotch = max(leg, 84), min(crotch, 200)
    middle = hip * 56 // 100
    inner, outer = max(8, middle - leg), middle + leg
    knee = (middle + max(leg - 20, 60), (crotch + hem) // 2)
    right = [(waist, 0), *curve((waist, 0), (hip, 60), (hip, crotch - 40), 6)]
    right += [*curve((hip, crotch - 40), knee, (outer, hem), 6), (inner, hem + 4), (10, crotch)]
    crease = band((4, crotch - 130), (4, crotch), 2, 2)
    return [
        Part([*right, *mirrored(right)[::-1]], "cloth"),
        Part(crease, "lining", edged=False),
        _waistband(waist),
    ]


def _skirt(product: Product) -> list[Part]:
    fit, hem, traits = product.values["fit"], hem_of(product), product.traits
    waist, hip = 128 + traits["waist"] // 2, CHEST[fit] + 6
    end = hip + FLARE[fit] * (hem + 160) // 400 + traits["hem"] // 2 - (18 if fit == "slim" else 0)
    right = [(waist, 0), *curve((waist, 0), (hip, 70), (hip, 150), 6)]
    right += [*curve((hip, 150), (hip + 6, hem // 2), (end, hem), 6), (0, hem + abs(traits["hem_curve"]))]
    return [Part([*right, *mirrored(right)[::-1]], "cloth"), _waistband(waist)]


def _waistband(waist: int) -> Part:
    return Part([(-waist, -4), (waist, -4), (waist + 6, 36), (-waist - 6, 36)], "plain", 220)

"""A product as outlines, back to front: body, then what closes it, then its detail."""

from __future__ import annotations

from fashreg.data.atelier.bottoms import bottom_parts
from fashreg.data.atelier.design import Product
from fashreg.data.atelier.measures import WAIST, Part, hem_of, is_bottom, neck_of
from fashreg.data.atelier.raster import Point, band, ellipse
from fashreg.data.atelier.tops import top_parts


def parts_of(product: Product, arms: tuple[Point, Point]) -> list[Part]:
    """All parts. arms: where the left and the right wrist are, x counted outwards from the middle."""
    body = bottom_parts(product) if is_bottom(product) else top_parts(product, arms)
    return [*body, *_closure(product), *_detail(product)]


def _closure(product: Product) -> list[Part]:
    kind, bottom = product.values["closure"], is_bottom(product)
    top = 50 if bottom else max(0, neck_of(product)[1])
    end = 210 if bottom else hem_of(product) - 20
    if kind == "zip":
        return [Part(band((0, top), (0, end), 7, 7), "metal"), Part(ellipse((0, top + 24), 12, 20), "metal", 200)]
    if kind == "belt":
        y, half = (6, 150) if bottom else (372, WAIST[product.values["fit"]] + 40)
        belt = Part(_box(0, y + 22, half, 22), "accent")
        return [belt, Part(_box(0, y + 22, 30, 30), "metal"), Part(_box(0, y + 22, 16, 16), "accent")]
    if kind == "buttons":
        count = min(product.traits["buttons"], 3) if bottom else product.traits["buttons"]
        step = (end - top - 30) // count
        placket = Part(band((0, top), (0, end + 14), 22, 22), "cloth", 244)
        return [placket, *(Part(ellipse((0, top + 26 + step * k), 11, 11), "accent") for k in range(count))]
    return []


def _detail(product: Product) -> list[Part]:
    """A pocket or an emblem; a trim is part of the cloth and of the cuffs."""
    kind, traits, bottom = product.values["detail"], product.traits, is_bottom(product)
    if kind == "pocket":
        x, y = (92 * traits["side"], 70) if bottom else (86 * traits["side"], 170)
        bag = [(x - 46, y), (x + 46, y), (x + 46, y + 92), (x, y + 112), (x - 46, y + 92)]
        return [Part(bag, "plain", 230), Part(_box(x, y + 9, 46, 9), "plain", 200)]
    if kind == "emblem":
        x, y = (84 * traits["side"], 130) if bottom else (0, 250)
        centre = (x + traits["emblem_x"], y + traits["emblem_y"])
        return [Part(_emblem(traits["emblem"], centre, traits["emblem_size"]), "accent")]
    return []


def _box(x: int, y: int, half_width: int, half_height: int) -> list[Point]:
    left, right, top, bottom = x - half_width, x + half_width, y - half_height, y + half_height
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _emblem(kind: int, centre: Point, size: int) -> list[Point]:
    """Disc, diamond, bar, triangle or star."""
    x, y = centre
    if kind == 0:
        return ellipse(centre, size, size)
    if kind == 1:
        return [(x, y - size), (x + size, y), (x, y + size), (x - size, y)]
    if kind == 2:
        return _box(x, y, size, size // 3)
    if kind == 3:
        return [(x, y - size), (x + size, y + size * 3 // 4), (x - size, y + size * 3 // 4)]
    outer, inner = ellipse(centre, size, size), ellipse(centre, size // 2, size // 2)
    return [outer[k] if k % 4 == 2 else inner[k] for k in range(0, 24, 2)]

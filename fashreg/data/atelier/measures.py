"""The measures of garments, in units: x from the middle, y down from shoulder or waist, 0 to 950."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fashreg.data.atelier.design import Product
from fashreg.data.atelier.raster import Point
from fashreg.data.atelier.words import LENGTHS

Paint = Literal["cloth", "plain", "accent", "lining", "metal"]

_HEM = {  # per length; 0 where a category has no such length
    "t-shirt": (400, 540, 680, 0),
    "shirt": (430, 580, 700, 0),
    "sweater": (400, 540, 690, 0),
    "hoodie": (410, 560, 700, 0),
    "jacket": (420, 570, 0, 0),
    "coat": (0, 660, 800, 930),
    "dress": (600, 710, 830, 950),
    "skirt": (300, 430, 590, 800),
    "trousers": (0, 640, 790, 920),
    "shorts": (260, 400, 0, 0),
}

#: half widths by fit
CHEST = {"slim": 152, "regular": 176, "loose": 214, "flared": 166}
WAIST = {"slim": 128, "regular": 164, "loose": 214, "flared": 144}
LEG = {"slim": 48, "regular": 72, "loose": 104, "flared": 124}
#: how much wider a hem is, per 400 units of length
FLARE = {"slim": 0, "regular": 14, "loose": 18, "flared": 110}
#: how much of the arm a sleeve covers, in %
SLEEVE = {"sleeveless": 0, "cap": 20, "short": 40, "three-quarter": 74, "long": 100}
#: half width and depth of the opening
NECK = {
    "round": (82, 62),
    "v": (78, 190),
    "square": (96, 108),
    "boat": (140, 30),
    "high": (66, -34),
    "collar": (74, 96),
    "hood": (86, 70),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One outline. paint: what fills it. tone: brightness in 1/256. edged: drawn with a darker rim."""

    outline: list[Point]
    paint: Paint
    tone: int = 256
    edged: bool = True


def is_bottom(product: Product) -> bool:
    """Whether it hangs from the waist, not from the shoulders."""
    return product.values["sub_category"] == "bottoms"


def hem_of(product: Product) -> int:
    """Where the garment ends, below shoulder or waist."""
    lengths = _HEM[product.values["category"]]
    return lengths[LENGTHS.index(product.values["length"])] + product.traits["hem"] // 2


def shoulder_of(product: Product) -> Point:
    """The end of the right shoulder."""
    return 196 + product.traits["shoulder"] + (24 if product.values["fit"] == "loose" else 0), 34


def neck_of(product: Product) -> Point:
    """Half width and depth of the opening; a negative depth stands up."""
    width, depth = NECK[product.values["neckline"]]
    return width, depth + product.traits["drop"] if depth > 0 else depth

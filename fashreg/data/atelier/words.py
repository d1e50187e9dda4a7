"""What Atelier can draw, in words: attributes and their values, and what each category of garment allows."""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (38, 38, 42),
    "grey": (138, 140, 144),
    "white": (236, 236, 232),
    "beige": (208, 188, 152),
    "brown": (112, 74, 48),
    "red": (190, 38, 44),
    "orange": (224, 122, 44),
    "yellow": (228, 198, 62),
    "green": (62, 124, 68),
    "teal": (32, 128, 132),
    "blue": (62, 116, 196),
    "navy": (34, 48, 98),
    "purple": (116, 66, 142),
    "pink": (228, 142, 168),
}
PATTERNS = ("plain", "stripes", "pinstripes", "checks", "dots", "floral", "chevron", "colour-block")
MATERIALS = ("cotton", "ribbed", "denim", "satin", "tweed", "leather")
SLEEVES = ("sleeveless", "cap", "short", "three-quarter", "long")
NECKLINES = ("round", "v", "square", "boat", "high", "collar", "hood")
LENGTHS = ("short", "regular", "long", "full")
FITS = ("slim", "regular", "loose", "flared")
CLOSURES = ("none", "buttons", "zip", "belt")
DETAILS = ("none", "pocket", "emblem", "trim")

#: attribute -> its values; an empty cell (the sleeve of a skirt) means that there is no such thing
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "category": (
        "t-shirt", "shirt", "sweater", "hoodie", "jacket", "coat", "dress", "skirt", "trousers", "shorts",
    ),
    "sub_category": ("tops", "outerwear", "dresses", "bottoms"),
    "colour": tuple(COLOURS),
    "pattern": PATTERNS,
    "sleeve": SLEEVES,
    "neckline": NECKLINES,
    "length": LENGTHS,
    "fit": FITS,
    "material": MATERIALS,
    "closure": CLOSURES,
    "detail": DETAILS,
}  # fmt: skip

SUB_CATEGORY = {
    "t-shirt": "tops", "shirt": "tops", "sweater": "tops", "hoodie": "tops", "jacket": "outerwear", "coat": "outerwear",
    "dress": "dresses", "skirt": "bottoms", "trousers": "bottoms", "shorts": "bottoms",
}  # fmt: skip

_ANY = {"colour": tuple(COLOURS), "pattern": PATTERNS, "fit": FITS, "detail": DETAILS}
_STRAIGHT = ("slim", "regular", "loose")

#: category -> attribute -> the values it allows
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "t-shirt": _ANY | {
        "sleeve": SLEEVES, "neckline": ("round", "v", "square", "boat"), "length": ("short", "regular", "long"),
        "material": ("cotton", "ribbed", "satin"), "closure": ("none",),
    },
    "shirt": _ANY | {
        "sleeve": ("short", "three-quarter", "long"), "neckline": ("collar", "high"),
        "length": ("short", "regular", "long"), "material": ("cotton", "denim", "satin"), "closure": ("buttons",),
    },
    "sweater": _ANY | {
        "sleeve": ("three-quarter", "long"), "neckline": ("round", "v", "boat", "high"), "fit": _STRAIGHT,
        "length": ("short", "regular", "long"), "material": ("cotton", "ribbed", "tweed"),
        "closure": ("none", "buttons"),
    },
    "hoodie": _ANY | {
        "sleeve": ("short", "long"), "neckline": ("hood",), "length": ("short", "regular", "long"),
        "material": ("cotton", "ribbed", "denim"), "closure": ("none", "zip"), "fit": _STRAIGHT,
    },
    "jacket": _ANY | {
        "sleeve": ("three-quarter", "long"), "neckline": ("collar", "high", "v", "hood"),
        "length": ("short", "regular"), "material": ("denim", "tweed", "leather", "satin"),
        "closure": ("buttons", "zip"),
    },
    "coat": _ANY | {
        "sleeve": ("long",), "neckline": ("collar", "high", "v", "hood"), "length": ("regular", "long", "full"),
        "material": ("cotton", "tweed", "leather"), "closure": ("buttons", "zip", "belt"),
    },
    "dress": _ANY | {
        "sleeve": SLEEVES, "neckline": ("round", "v", "square", "boat", "high"), "length": LENGTHS,
        "material": ("cotton", "ribbed", "satin", "denim"), "closure": ("none", "buttons", "belt"),
    },
    "skirt": _ANY | {
        "length": LENGTHS, "material": ("cotton", "denim", "satin", "leather", "tweed"),
        "closure": ("none", "buttons", "zip", "belt"),
    },
    "trousers": _ANY | {
        "length": ("regular", "long", "full"), "material": ("cotton", "denim", "tweed", "leather"),
        "closure": ("none", "buttons", "zip", "belt"),
    },
    "shorts": _ANY | {
        "length": ("short", "regular"), "material": ("cotton", "denim", "leather", "satin"),
        "closure": ("none", "buttons", "zip", "belt"), "fit": _STRAIGHT,
    },
}  # fmt: skip

"""Products: families of garments that share a design and differ from their first member in one or two attributes."""

from __future__ import annotations

from dataclasses import dataclass

from fashreg.data.atelier.dice import Dice
from fashreg.data.atelier.words import ALLOWED, ATTRIBUTES, COLOURS, SUB_CATEGORY

FAMILY = 4  # products that share a design

_EDITED = ("colour", "colour", "pattern", "sleeve", "neckline", "length", "fit", "material", "closure", "detail")


@dataclass(frozen=True, slots=True)
class Product:
    """number: which product of the set. values: attribute -> value, "" where the garment has no such thing.
    accent: the name of its second colour. traits: name -> whole number; what makes this design unlike any other.
    """

    number: int
    values: dict[str, str]
    accent: str
    traits: dict[str, int]

    @property
    def label(self) -> str:
        """The class of its pictures."""
        return f"p{self.number:05d}"

    @property
    def style(self) -> str:
        """Category / colour / pattern."""
        return "/".join(self.values[name] for name in ("category", "colour", "pattern"))


def product(number: int, seed: int) -> Product:
    """Product `number` of the set of this seed; it does not depend on how large the set is."""
    family, member = divmod(number, FAMILY)
    dice = Dice(seed, 1, family)
    values = _first_values(dice)
    second, traits = dice.one_of(list(COLOURS)), _traits(dice)
    seen = [values]
    for _ in range(member):  # every member replays those before it, so that no two are alike
        seen.append(_edited(values, dice, seen))
    return Product(number, seen[-1], _seen_against(seen[-1]["colour"], second), traits)


def changes(source: Product, target: Product) -> list[str]:
    """The attributes in which two products differ."""
    return [name for name in ATTRIBUTES if source.values[name] != target.values[name]]


def _first_values(dice: Dice) -> dict[str, str]:
    category = dice.one_of(ATTRIBUTES["category"])
    values = {"category": category, "sub_category": SUB_CATEGORY[category]}
    for name in list(ATTRIBUTES)[2:]:
        allowed = ALLOWED[category].get(name, ("",))
        usual = allowed[0] if name in ("pattern", "detail", "closure") and dice.chance(30) else dice.one_of(allowed)
        values[name] = usual
    return values


def _edited(values: dict[str, str], dice: Dice, seen: list[dict[str, str]]) -> dict[str, str]:
    allowed = ALLOWED[values["category"]]
    while True:
        edited = dict(values)
        for _ in range(dice.between(1, 2)):
            name = dice.one_of([name for name in _EDITED if len(allowed.get(name, ())) > 1])
            edited[name] = dice.one_of([value for value in allowed[name] if value != values[name]])
        if edited not in seen:
            return edited


def _traits(dice: Dice) -> dict[str, int]:
    return {
        **{f"tint_{i}": dice.between(-16, 16) for i in range(3)},
        "period": dice.between(44, 120),  # of the pattern, in units
        "duty": dice.between(30, 60),  # share of the second colour in stripes and checks, in %
        "phase_x": dice.below(200),
        "phase_y": dice.below(200),
        "salt": dice.below(1 << 30),
        "shoulder": dice.between(-14, 14),
        "waist": dice.between(-14, 14),
        "hem": dice.between(-24, 24),
        "drop": dice.between(-18, 18),  # how deep the neckline is
        "cuff": dice.between(-10, 14),
        "buttons": dice.between(3, 7),
        "side": dice.one_of((-1, 1)),
        "emblem": dice.below(5),
        "emblem_size": dice.between(40, 78),
        "emblem_x": dice.between(-60, 60),
        "emblem_y": dice.between(-30, 40),
        "hem_curve": dice.between(-16, 40),
    }


def _seen_against(colour: str, second: str) -> str:
    """The second colour, or black or white where it would not show."""
    for accent in (second, "white", "black"):
        if sum(abs(a - b) for a, b in zip(COLOURS[accent], COLOURS[colour], strict=True)) > 150:
            return accent
    raise AssertionError(f"{colour} is near both black and white")

"""Products and the differences between them, in English."""

from __future__ import annotations

from fashreg.data.atelier.design import Product, changes
from fashreg.data.atelier.dice import Dice

_PATTERN = {
    "plain": "plain", "stripes": "striped", "pinstripes": "pinstriped", "checks": "checked", "dots": "dotted",
    "floral": "floral", "chevron": "chevron", "colour-block": "colour-block",
}  # fmt: skip
_SLEEVE = {
    "sleeveless": "no sleeves", "cap": "cap sleeves", "short": "short sleeves", "long": "long sleeves",
    "three-quarter": "three-quarter sleeves",
}  # fmt: skip
_NECKLINE = {
    "round": "a round neck", "v": "a V-neck", "square": "a square neck", "boat": "a boat neck", "high": "a high neck",
    "collar": "a collar", "hood": "a hood",
}  # fmt: skip
_CLOSURE = {"none": "", "buttons": "buttons", "zip": "a zip", "belt": "a belt"}
_DETAIL = {"none": "", "pocket": "a patch pocket", "emblem": "an emblem", "trim": "a trim"}
_PLURAL = {"trousers", "shorts"}


def title_of(product: Product) -> str:
    """What a shop would call it: `Slim Navy Striped Cotton Shirt`."""
    values = product.values
    fit = "" if values["fit"] == "regular" else values["fit"]
    pattern = "" if values["pattern"] == "plain" else _PATTERN[values["pattern"]]
    words = (fit, values["colour"], pattern, values["material"], values["category"])
    return " ".join(word for word in words if word).title()


def caption_of(product: Product) -> str:
    """One sentence that names every attribute the garment has."""
    values = product.values
    noun = f"{values['fit']} {values['length']} {values['colour']} {values['category']}"
    article = "" if values["category"] in _PLURAL else "an " if noun[0] in "aeiou" else "a "
    pattern = "in plain" if values["pattern"] == "plain" else f"in {_PATTERN[values['pattern']]}"
    features = [_SLEEVE.get(values["sleeve"], ""), _NECKLINE.get(values["neckline"], "")]
    features += [_CLOSURE[values["closure"]], _DETAIL[values["detail"]]]
    named = [feature for feature in features if feature]
    ending = f" with {_listed(named)}" if named else ""
    return f"{article}{noun} {pattern} {values['material']}{ending}"


def edit_of(source: Product, target: Product, seed: int) -> str:
    """What to change about the source to get the target: `is red and has long sleeves`."""
    dice = Dice(seed, 3, source.number, target.number)
    return _listed([_change(name, source, target, dice) for name in changes(source, target)])


def _change(name: str, source: Product, target: Product, dice: Dice) -> str:
    old, new = source.values[name], target.values[name]
    if name in ("closure", "detail"):
        words = _CLOSURE if name == "closure" else _DETAIL
        if new == "none":
            bare = words[old].removeprefix("an ").removeprefix("a ")
            return dice.one_of((f"has no {bare}", f"comes without {words[old]}"))
        return f"has {words[new]}{'' if old == 'none' else f' instead of {words[old]}'}"
    if name in ("sleeve", "neckline"):
        return f"{dice.one_of(('has', 'comes with'))} {(_SLEEVE if name == 'sleeve' else _NECKLINE)[new]}"
    if name == "pattern":
        was = f", not {_PATTERN[old]}" if dice.chance(30) else ""
        return f"is {_PATTERN[new]}{was}"
    if name == "length":
        order = ("short", "regular", "long", "full")
        longer = "longer" if order.index(new) > order.index(old) else "shorter"
        return f"is {longer}, of {new} length"
    if name == "material":
        return f"is made of {new} {'cloth' if new == 'ribbed' else ''}".rstrip()
    return f"{'has a ' + new + ' fit' if name == 'fit' else dice.one_of((f'is {new}', f'is {new} instead of {old}'))}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

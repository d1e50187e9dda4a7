"""What a saved head leaves out of itself, for the heads of new tasks: options that reach outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fashreg.assembly import build
from fashreg.config import ComponentConfig, Recipe
from fashreg.encoder import Encoder
from fashreg.registry import find_class


def let_reach(encoder: Encoder, recipe: Recipe) -> None:
    """Give the pattern of new heads what the recipe has it reach (weights of a text model), as it did in training.

    A folder holds such options as reaching nowhere. Within `told_by` what nobody allowed raises OptionError.
    """
    pattern = getattr(encoder.head, "head", None)
    reaches: Mapping[str, Any] = getattr(type(pattern), "reaches", {})
    spec = recipe.head.options.get("head")
    if not reaches or not isinstance(spec, str | Mapping):
        return
    given = ComponentConfig.model_validate(spec)
    if find_class("head", given.name) is not type(pattern):
        return
    wanted = {name: given.options[name] for name in reaches if given.options.get(name, reaches[name]) != reaches[name]}
    if not wanted:
        return
    made = build("head", given, facts={"in_dim": getattr(pattern, "in_dim", None)})
    for name in wanted:
        setattr(pattern, name, getattr(made, name))

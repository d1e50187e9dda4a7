"""What this plugin brings beside backbone, head and learner: recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fashreg.hookspecs import hookimpl

RECIPES = Path(__file__).parent / "recipes"


@hookimpl
def fashreg_recipes() -> Mapping[str, Path]:
    """Every YAML file in `recipes/`, by its name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}

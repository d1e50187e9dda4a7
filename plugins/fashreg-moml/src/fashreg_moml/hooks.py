"""What this plugin brings beside its components: recipes, and a section on the objectives in the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashreg.hookspecs import ReportSection, hookimpl
from fashreg_moml.log_sections import objective_sections

RECIPES = Path(__file__).parent / "recipes"


@hookimpl
def fashreg_recipes() -> Mapping[str, Path]:
    """Every YAML file in `recipes/`, by its name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


@hookimpl
def fashreg_report_sections(log: Sequence[Mapping[str, Any]]) -> Sequence[ReportSection]:
    """The objectives, where the log tells of them."""
    return objective_sections(log)

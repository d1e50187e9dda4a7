"""What this plugin brings beside its components: recipes, and sections of a run's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashreg.hookspecs import ReportSection, hookimpl
from fashreg_moml.log_sections import coverage_sections, objective_sections

RECIPES = Path(__file__).parent / "recipes"


@hookimpl
def fashreg_recipes() -> Mapping[str, Path]:
    """Every YAML file in `recipes/`, by its name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


@hookimpl
def fashreg_report_sections(log: Sequence[Mapping[str, Any]]) -> Sequence[ReportSection]:
    """The objectives, and the classes that were drawn, where the log tells of them."""
    return [*objective_sections(log), *coverage_sections(log)]

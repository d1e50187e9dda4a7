"""What this plugin brings beside the memory: recipes, and a section on drift in the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashreg.hookspecs import ReportSection, hookimpl

RECIPES = Path(__file__).parent / "recipes"


@hookimpl
def fashreg_recipes() -> Mapping[str, Path]:
    """Every YAML file in `recipes/`, by its name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


@hookimpl
def fashreg_report_sections(log: Sequence[Mapping[str, Any]]) -> Sequence[ReportSection]:
    """Drift of the memory, where the log tells of it."""
    from fashreg_acbn.drift_log import drift_sections  # torch comes with it, which a list of recipes does not need

    return drift_sections(log)

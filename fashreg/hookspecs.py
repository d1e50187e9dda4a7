"""Hooks: what a plugin may bring that is not a component. One entry point in the group `fashreg` names the module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("fashreg")
hookimpl = pluggy.HookimplMarker("fashreg")


@dataclass(frozen=True, slots=True)
class ReportChart:
    """Lines over one axis. series: name -> (x, y), finite numbers, equally many, one at least."""

    title: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    x_label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A section of the report: a heading, a sentence or two, charts. Plain text, escaped by the page."""

    title: str
    note: str
    charts: Sequence[ReportChart]


@hookspec
def fashreg_recipes() -> Mapping[str, Path]:  # type: ignore[empty-body]
    """Recipes this plugin ships: name -> file. `fashreg recipes` lists them, `fashreg train NAME` takes them."""


@hookspec
def fashreg_report_sections(  # type: ignore[empty-body]
    recipe: Mapping[str, Any], log: Sequence[Mapping[str, Any]]
) -> Sequence[ReportSection]:
    """Sections for the report of a run, none if there is nothing to say.

    recipe: as the run resolved it. log: the lines of the training log, one dict of named numbers each: "step", "loss",
    the parts of loss and memory, ...
    """

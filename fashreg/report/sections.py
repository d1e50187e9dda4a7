"""Sections of a report that plugins bring (hook `fashreg_report_sections`). A broken one costs its own section only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fashreg.hookspecs import ReportChart, ReportSection
from fashreg.plugins import hooks
from fashreg.report.charts import Chart, line_chart
from fashreg.report.subject import Subject


@dataclass(frozen=True, slots=True)
class Section:
    """A section as the page shows it; anchor: its id there."""

    anchor: str
    title: str
    note: str
    charts: tuple[Chart, ...]


def plugin_sections(subject: Subject) -> tuple[list[Section], list[str]]:
    """The sections for a run that has a log, by plugin name, and a sentence about each plugin that failed."""
    found: list[Section] = []
    failed: list[str] = []
    if not subject.steps:
        return found, failed
    given = {"recipe": subject.recipe, "log": subject.steps}
    implementations = hooks().manager.hook.fashreg_report_sections.get_hookimpls()
    for one in sorted(implementations, key=lambda one: one.plugin_name):
        plugin = one.plugin_name.rpartition(":")[0]
        try:
            made: Any = one.function(*(given[name] for name in one.argnames))
            found += [_shown(section, f"{plugin}-{place}") for place, section in enumerate(made or ())]
        except Exception as error:  # a plugin's hook may fail in any way
            failed.append(f"What {plugin} adds: its section failed with {type(error).__name__}: {error}")
    return found, failed


def _shown(section: ReportSection, anchor: str) -> Section:
    return Section(anchor, section.title, section.note, tuple(_chart(chart) for chart in section.charts))


def _chart(chart: ReportChart) -> Chart:
    for name, (xs, ys) in chart.series.items():
        if len(xs) != len(ys) or not len(xs) or not _finite(xs) or not _finite(ys):
            raise ValueError(f"series {name!r} of chart {chart.title!r} must be as many finite x as y, one at least")
    if not chart.series:
        raise ValueError(f"chart {chart.title!r} has no series")
    return line_chart(chart.title, chart.series, chart.x_label, dots=_few(chart), note=chart.note)


def _finite(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)


def _few(chart: ReportChart) -> bool:
    return all(len(xs) <= 20 for xs, _ in chart.series.values())

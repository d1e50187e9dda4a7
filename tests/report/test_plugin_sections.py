"""Sections that plugins add to the report of a run, and what becomes of those that fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from fashreg import hookspecs
from fashreg.hookspecs import ReportChart, ReportSection, hookimpl
from fashreg.plugins import Hooks
from fashreg.report import sections
from fashreg.report.subject import read_subject
from fashreg.report.writing import write_report

Brings = Callable[[Any], Any]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Brings:
    """Let the report see plugins: name -> its implementation of the hook."""

    def see(plugins: Mapping[str, Callable[..., Any]]) -> None:
        found = Hooks(pluggy.PluginManager("fashreg"))
        found.manager.add_hookspecs(hookspecs)
        for name, implementation in plugins.items():
            module = ModuleType(name)
            module.fashreg_report_sections = hookimpl(implementation)  # type: ignore[attr-defined]
            found.manager.register(module, name=f"{name}:hooks")
        monkeypatch.setattr(sections, "hooks", lambda: found)

    return see


def of_losses(log: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[ReportSection]:
    steps, losses = [line["step"] for line in log], [line["loss"] for line in log]
    note = f"<seed> {recipe['seed']}"
    return [ReportSection("Losses & more", note, [ReportChart("Falling", {"loss": (steps, losses)}, "step", "a note")])]


def test_a_plugins_section_stands_after_the_training_with_its_text_escaped(run: Path, seen: Brings) -> None:
    seen({"fashreg-some": of_losses})
    page = write_report(run, run / "report.html").read_text()
    assert '<section id="fashreg-some-0">' in page
    assert '<a href="#fashreg-some-0">Losses &amp; more</a>' in page
    assert "&lt;seed&gt; 7" in page
    assert "Falling" in page
    assert "a note" in page
    order = [page.index(f'<section id="{name}">') for name in ("training", "fashreg-some-0", "classes")]
    assert order == sorted(order)
    in_contents = [page.index(f'href="#{name}">') for name in ("training", "fashreg-some-0", "classes")]
    assert in_contents == sorted(in_contents)


def test_a_hook_may_ask_for_less_and_bring_nothing(run: Path, seen: Brings) -> None:
    seen({"a": lambda log: [], "b": lambda recipe: None, "c": lambda log: of_losses(log, {"seed": len(log)})})
    found, failed = sections.plugin_sections(read_subject(run))
    assert [(section.anchor, section.note) for section in found] == [("c-0", "<seed> 8")]
    assert failed == []


def fails(log: Any) -> Any:
    raise RuntimeError("no luck")


def brings(series: Any) -> Callable[..., Any]:
    return lambda log: [ReportSection("s", "n", [ReportChart("c", series, "step")])]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (fails, "RuntimeError: no luck"),
        (lambda log: ["not a section"], "AttributeError"),
        (brings({}), "chart 'c' has no series"),
        (brings({"a": ([1.0], [math.nan])}), "series 'a' of chart 'c'"),
        (brings({"a": ([1.0, 2.0], [1.0])}), "series 'a' of chart 'c'"),
        (brings({"a": ([], [])}), "series 'a' of chart 'c'"),
    ],
)
def test_a_broken_section_costs_itself_and_the_page_says_so(
    run: Path, seen: Brings, broken: Callable[..., Any], said: str
) -> None:
    seen({"fashreg-broken": broken, "fashreg-some": of_losses})
    page = write_report(run, run / "report.html").read_text().replace("&#39;", "'")
    assert "What fashreg-broken adds: its section failed with" in page
    assert said in page
    assert '<section id="fashreg-some-0">' in page


def test_no_plugin_is_asked_where_nothing_was_trained(run: Path, seen: Brings) -> None:
    seen({"fashreg-broken": fails})
    (run / "metrics.jsonl").unlink()
    assert sections.plugin_sections(read_subject(run)) == ([], [])

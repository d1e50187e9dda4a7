"""The section about learning in increments: drawn from RUN/stream.json, and what a damaged one is told."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser

from fashreg.errors import ModelError
from fashreg.jobs.stream_record import read_record
from fashreg.report.heat_map import Cell, heat_map
from fashreg.report.increments import Increments, increments_of
from fashreg.report.writing import write_report

Content = dict[str, Any]


def three() -> Content:
    """Three attributes; the first falls from 0.8 to 0.6, the second rises from 0.5 to 0.55."""
    cost = {"tuples": 1000, "image_passes": 6000, "seconds": 12.5, "parameters": 2_000_000, "exemplar_bytes": 0}
    return {
        "format": 1,
        "by": "attribute",
        "experiences": ["category", "colour", "<b>use</b>"],
        "judged": "test",
        "queries": {"category": 40, "colour": 60, "<b>use</b>": 20},
        "chance": {"category": 0.2, "colour": 0.1, "<b>use</b>": 0.3},
        "map": [[0.8, 0.12, None], [0.7, 0.5, 0.35], [0.6, 0.55, 0.9]],
        "recall@1": [[0.9, 0.2, None], [0.8, 0.6, 0.4], [0.7, 0.65, 1.0]],
        "cost": [cost, {**cost, "image_passes": 9000}, {**cost, "parameters": 2_500_000}],
        "summary": {"final/mean": 2.05 / 3, "forgetting/max": 0.075, "forward_transfer": None},
    }


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Content], Path]:
    def write(content: Content) -> Path:
        path = tmp_path / "stream.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def shown(written: Callable[[Content], Path]) -> Callable[[Content], Increments]:
    def show(content: Content) -> Increments:
        found = increments_of(read_record(written(content)))
        assert found is not None
        return found

    return show


Shown = Callable[[Content], Increments]


def texts(drawing: str, kind: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(drawing).iter() if e.get("class") == kind]


def classes(drawing: str) -> list[str]:
    return [e.attrib["class"] for e in ET.fromstring(drawing).iter() if e.tag == "rect"]


def test_every_measured_number_stands_in_a_cell_and_changes_are_counted_from_when_it_was_learnt(shown: Shown) -> None:
    drawing = shown(three()).map.drawing
    numbers = ["0.800", "0.120", "0.700", "0.500", "0.350", "0.600", "0.550", "0.900", "0.200", "0.100", "0.300"]
    assert texts(drawing, "strong") == numbers
    assert texts(drawing, "more") == ["−0.100", "−0.200", "+0.050"]
    kinds = ["own", "ahead", "", "own", "ahead", "", "", "own", "apart", "apart", "apart"]
    assert classes(drawing) == [f"cell {kind}".strip() for kind in kinds]


def test_an_unchanged_number_says_so(shown: Shown) -> None:
    content = three()
    content["map"][2][0] = 0.8
    assert "±0" in texts(shown(content).map.drawing, "more")


def test_a_change_too_small_for_three_digits_keeps_its_sign(shown: Shown) -> None:
    content = three()
    content["map"][2][0] = 0.8 - 1e-6
    assert texts(shown(content).map.drawing, "more")[1] == "−0.000"


def test_shade_grows_with_the_number_and_names_cannot_become_markup() -> None:
    cells = [Cell(0.0), Cell(0.5), Cell(1.0), None, Cell(1.0, mark="ahead")]
    drawing = heat_map("<t>", [("<b>", cells)], ["<i>", "b", "c", "d", "e"])
    shades = [float(e.attrib["fill-opacity"]) for e in ET.fromstring(drawing).iter() if e.tag == "rect"]
    assert shades == [0.0, 0.25, 0.5, 0.0]
    assert "<b>" not in drawing
    assert "<i>" not in drawing


def test_long_names_are_shortened_and_kept_for_a_pointer() -> None:
    drawing = heat_map("t", [("after a very long name of an attribute", [Cell(0.5)])], ["a-rather-long-column"])
    assert "after a very long n…" in drawing
    assert "<title>after a very long name of an attribute</title>" in drawing
    assert "<title>a-rather-long-column</title>" in drawing


def test_curves_go_over_what_was_learnt_and_over_the_passes_so_far(shown: Shown) -> None:
    against, each = shown(three()).charts
    assert against.legend == ("MAP", "recall@1")
    assert re.findall(r"MAP (\d\.\d+) at (\d+)", against.drawing) == [
        ("0.8000", "6000"), ("0.6000", "15000"), ("0.6833", "21000")
    ]  # fmt: skip
    assert each.legend == ("category", "colour", "<b>use</b>")
    assert re.findall(r"colour (\d\.\d+) at (\d+)", each.drawing) == [("0.5000", "2"), ("0.5500", "3")]


def test_more_attributes_than_colours_are_counted_in_the_note(shown: Shown) -> None:
    names = [f"a{i}" for i in range(10)]
    row = [0.5] * 10
    content = {**three(), "experiences": names, "queries": dict.fromkeys(names, 4), "chance": dict.fromkeys(names, 0.1)}
    found = shown({**content, "map": [row] * 10, "recall@1": [row] * 10, "cost": [{"image_passes": 1.0}] * 10})
    assert len(found.charts[1].legend) == 8
    assert "Of 10 attributes the first 8 are drawn" in found.charts[1].note


def test_costs_are_summed_but_not_what_is_kept(shown: Shown) -> None:
    found = shown(three())
    assert found.cost_names == ("training tuples", "image passes", "seconds", "stored parameters", "exemplar bytes")
    assert found.costs[-1] == ("together", ("3,000", "21,000", "38", "2,500,000", "0"))


def test_an_increment_whose_cost_nobody_kept_has_no_sum_and_no_curve(shown: Shown) -> None:
    content = three()
    content["cost"][0] = None
    found = shown(content)
    assert found.costs[0] == ("category", ("–",) * 5)
    assert [name for name, _ in found.costs] == ["category", "colour", "<b>use</b>"]
    assert [chart.title for chart in found.charts] == ["MAP of each attribute"]


def test_what_a_model_knew_before_this_run_costs_nothing_here(shown: Shown) -> None:
    content = {**three(), "experiences": ["before", "colour", "<b>use</b>"]}
    content["cost"] = [None, *content["cost"][1:]]
    content["map"][0] = [0.8, 0.12, None]
    found = shown(content)
    assert [name for name, _ in found.costs] == ["before", "colour", "<b>use</b>", "together"]
    assert found.costs[-1][1][1] == "15,000"
    assert re.findall(r"MAP (\d\.\d+) at (\d+)", found.charts[0].drawing) == [
        ("0.8000", "0"), ("0.6000", "9000"), ("0.6833", "15000")
    ]  # fmt: skip
    assert classes(found.map.drawing)[:2] == ["cell", "cell ahead"]


def test_the_head_of_the_page_says_what_was_forgotten_most(shown: Shown) -> None:
    assert shown(three()).finding == "Most forgotten: category, MAP 0.800 when learnt, 0.600 at the end"
    content = three()
    content["map"][2][0] = 0.8
    assert shown(content).finding == "Nothing that was learnt earlier was forgotten: no MAP fell"
    one = {**three(), "map": [[0.8, None, None]], "recall@1": [[0.9, None, None]]}
    assert shown(one).finding == ""


def test_a_run_that_still_goes_shows_the_rows_it_has(shown: Shown) -> None:
    content = three()
    content["map"], content["recall@1"], content["cost"] = content["map"][:1], content["recall@1"][:1], []
    with pytest.raises(ModelError, match="map has 1 rows, recall@1 1, cost 0"):
        shown(content)
    found = shown({**content, "cost": [{"image_passes": 5}]})
    assert found.note.startswith("1 of 3 increments are done. ")
    assert [chart.title for chart in found.charts] == ["Precision against cost"]


def test_nothing_measured_yet_gives_no_section(written: Callable[[Content], Path]) -> None:
    empty = {**three(), "map": [], "recall@1": [], "cost": []}
    assert increments_of(read_record(written(empty))) is None
    assert increments_of(None) is None


def test_one_experience_that_teaches_everything_has_a_column_for_each_attribute(shown: Shown) -> None:
    content = {**three(), "experiences": ["all"], "cost": [{"image_passes": 5}]}
    found = shown({**content, "map": [[0.8, 0.5, 0.9]], "recall@1": [[0.8, 0.5, 0.9]]})
    assert classes(found.map.drawing)[:3] == ["cell"] * 3
    assert "MAP 0.7333 at 5" in found.charts[0].drawing


def test_stages_of_values_are_told_as_such(shown: Shown) -> None:
    found = shown({**three(), "by": "value"})
    assert "all values seen so far" in found.note
    assert found.charts[1].title == "MAP of each stage"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format is 2, and this fashreg reads format 1"),
        ({"experiences": ["a", "a", "b"]}, "experiences must be different names"),
        ({"experiences": None}, "experiences must be a list, not None"),
        ({"by": 3}, "by must be a text, not 3"),
        ({"queries": {"category": "many"}}, "queries must be numbers by name"),
        ({"chance": {"category": 0.2}}, "chance is of category, queries of category, colour"),
        ({"map": [[0.8, 0.12, None], [0.7, 0.5]]}, "row 2 of map must be 3 numbers of 0 to 1 or null"),
        ({"map": [[80.0, 12.0, None]]}, "row 1 of map must be 3 numbers of 0 to 1 or null"),
        ({"recall@1": [[True, None, None]]}, "row 1 of recall@1 must be"),
        ({"map": [[None] * 3] * 4}, "map has 4 rows for 3 experiences"),
        ({"recall@1": []}, "map has 3 rows, recall@1 0, cost 3"),
        ({"cost": {}}, "cost must be a list"),
        ({"cost": [[1]] * 3}, "cost must be numbers by name"),
        ({"summary": {"final/mean": "good"}}, "summary must be numbers by name"),
        ({"summary": None}, "summary must be numbers by name"),
        ({"data": {"category": 3}}, "data must be texts by name"),
    ],
)
def test_a_damaged_file_names_itself_and_the_field(
    run: Path, capsys: pytest.CaptureFixture[str], change: Content, said: str
) -> None:
    (run / "stream.json").write_text(json.dumps({**three(), **change}), encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        write_report(run, run / "report.html")
    assert str(run / "stream.json") in str(raised.value)
    assert said in str(raised.value)
    from fashreg.cli import run as fashreg

    assert fashreg(["report", str(run)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"), [("{", "cannot be read"), ("[]", "must hold an object"), ("", "cannot be read")]
)
def test_what_is_no_object_is_told_so(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stream.json").write_text(text)
    with pytest.raises(ModelError, match=said):
        read_record(tmp_path / "stream.json")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_the_section_is_shown_without_complaint_and_can_be_read(
    browser: Browser, run: Path, width: int, dark: bool
) -> None:
    (run / "stream.json").write_text(json.dumps(three()), encoding="utf-8")
    page = write_report(run, run / "report.html")
    with browser.page(page, width=width, dark=dark) as opened:
        assert opened.seen.complaints == []
        assert opened.seen.requests == []
        assert opened.evaluate("document.documentElement.scrollWidth") == width, "something sticks out to the right"
        assert opened.evaluate("document.querySelector('nav a[href=\"#increments\"]').innerText") == "Increments"
        assert "Most forgotten: category" in opened.evaluate("document.querySelector('#summary').innerText")
        assert opened.evaluate("document.querySelectorAll('#increments svg').length") == 3
        assert opened.evaluate("document.querySelectorAll('#increments table').length") == 4
        headings = opened.evaluate("[...document.querySelectorAll('#increments table')][0].innerText")
        assert "<b>use</b>" in headings or opened.evaluate(
            "!!document.querySelector('#increments details:not([open])')"
        )
        assert opened.evaluate(CONTRAST) >= 4.5


CONTRAST = """(() => { const c = document.createElement('canvas').getContext('2d');
  const rgb = s => { c.clearRect(0, 0, 1, 1); c.fillStyle = s; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data] };
  const light = p => { const [r, g, b] = p.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b };
  const card = rgb(getComputedStyle(document.querySelector('#increments .card')).backgroundColor);
  return Math.min(...[...document.querySelectorAll('#increments .heat g')].flatMap(g => {
    const box = g.querySelector('rect'), share = parseFloat(box.getAttribute('fill-opacity'));
    const behind = rgb(getComputedStyle(box).fill).map((v, i) => share * v + (1 - share) * card[i]);
    return [...g.querySelectorAll('text')].map(t => {
      const [a, b] = [light(rgb(getComputedStyle(t).fill)), light(behind)].sort((x, y) => x - y);
      return (b + .05) / (a + .05) }) })) })()"""  # noqa: E501

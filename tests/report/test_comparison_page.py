"""The page of a comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from drawn_shop import hand_made

from fashreg.cli import run as fashreg
from fashreg.jobs.comparison import compare
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, PerQuery
from fashreg.report.changes import read_changes, recipe_differences
from fashreg.report.comparing import write_comparison


def worse(evaluation: Evaluation, by: float) -> Evaluation:
    """The same result with every second query's numbers lowered."""
    queries = evaluation.per_query
    assert queries is not None
    values = {name: column.clone() for name, column in queries.values.items()}
    for column in values.values():
        column[::2] = (column[::2] - by).clamp_min(0.0)
    metrics = {name: float(column.nanmean()) for name, column in values.items()}
    return replace(evaluation, metrics=metrics, per_query=PerQuery(queries.ids, values))


def test_changes_by_query_and_class_are_plain_differences() -> None:
    near = [[1, 2], [0, 2], [3, 0], [2, 0]]
    first = hand_made({"map@r": [0.2, 0.4, 0.9, 0.5]}, list("aabb"), near)
    second = hand_made({"map@r": [0.7, 0.4, 0.1, 0.6]}, list("aabb"), near)
    changes = read_changes(compare(first, second))
    assert changes is not None
    np.testing.assert_allclose(changes.values, [0.5, 0.0, -0.8, 0.1])
    assert [c.one.item["id"] for c in changes.gained] == [0, 3]
    assert [c.one.item["id"] for c in changes.lost] == [2]
    assert [(c.name, c.support) for c in changes.classes_up] == [("a", 2)]
    assert changes.classes_down[0].difference == pytest.approx(-0.35)
    assert (changes.gained[0].one.value, changes.gained[0].other.value) == (0.2, 0.7)


def test_recipes_differ_field_by_field() -> None:
    one = {"loss": {"name": "triplet", "margin": 0.1}, "seed": 0}
    other = {"loss": {"name": "triplet", "margin": 0.2}, "seed": 0, "memory": "xbm"}
    assert recipe_differences(one, other) == [("loss.margin", "0.1", "0.2"), ("memory", "–", "xbm")]


def test_two_runs_side_by_side_in_a_browser(
    browser: Browser, run: Path, evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_evaluation(worse(evaluation, 0.4), tmp_path / "measured")
    page_file = tmp_path / "page.html"
    assert fashreg(["compare", str(run), str(other), "--html", str(page_file)]) == 0
    assert "map@r" in capsys.readouterr().out
    for width, dark in ((1280, False), (390, True)):
        with browser.page(page_file, width=width, dark=dark) as page:
            assert (page.seen.complaints, page.seen.requests) == ([], [])
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            assert page.evaluate("document.querySelectorAll('.track .worse').length") >= 1
            assert page.evaluate("document.querySelectorAll('.track .better').length") == 0
            text = page.evaluate("document.body.innerText")
            assert "first" in text
            assert "Queries that lost most" in text
            assert "Queries that gained most" not in text
            assert page.picture(whole=False).getcolors(maxcolors=8) is None


def test_several_trainings_are_drawn_one_by_one(evaluation: Evaluation, tmp_path: Path) -> None:
    sides = [[worse(evaluation, by) for by in (0.0, 0.01)], [worse(evaluation, by) for by in (0.3, 0.31, 0.32)]]
    text = write_comparison(compare(*sides), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "map@r of each training" in text
    assert "p over trainings" in text
    assert "(3 trainings)" in text


def test_numbers_alone_make_a_page_too(evaluation: Evaluation, tmp_path: Path) -> None:
    bare = replace(evaluation, per_query=None, neighbours=None, items=None, vectors=None)
    text = write_comparison(compare(bare, bare), tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="metrics"' in text
    assert 'id="changes"' not in text

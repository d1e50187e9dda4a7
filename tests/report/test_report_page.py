"""The page as a browser shows it. Chromium is real; a machine without one fails here and says what to install."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, Page
from drawn_shop import CLASSES
from PIL import Image

from fashreg.report.writing import write_report

SECTIONS = ["summary", "metrics", "training", "classes", "attributes", "queries", "suspects", "map", "setting"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "report.html"


@pytest.fixture
def report(run: Path, page: Path) -> Path:
    return page if page.exists() else write_report(run, page)


def box_of(page: Page, selector: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the first such element on the page."""
    js = f"(() => {{ const r = document.querySelector('{selector}').getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] }})()"  # noqa: E501
    left, top, right, bottom = page.evaluate(js)
    return int(left), int(top), int(right), int(bottom)


def is_drawn(picture: Image.Image, box: tuple[int, int, int, int]) -> bool:
    """Whether a part of a screenshot has more than eight colours: one or two mean that nothing is there."""
    return picture.crop(box).getcolors(maxcolors=8) is None


def test_the_browser_notices_what_a_page_must_not_do(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('no'); missing()</script>")
    with browser.page(bad) as opened:
        assert opened.seen.requests == ["http://127.0.0.1:9/x.png"]
        assert len(opened.seen.complaints) >= 2


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_the_page_is_shown_whole_without_complaint_and_asks_for_nothing(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    with browser.page(report, width=width, dark=dark) as page:
        assert page.seen.complaints == []
        assert page.seen.requests == []
        assert page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS
        assert page.evaluate("document.documentElement.scrollWidth") == width, "something sticks out to the right"
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        picture = page.picture()
        assert picture.width == width
        ground = np.asarray(picture)[5, 5].mean()
        assert ground < 60 if dark else ground > 200
        for selector in (
            "h1",
            ".tiles",
            ".metrics",
            "#training svg",
            "#queries .answer",
            "#suspects .pair",
            "#map svg",
        ):
            box = box_of(page, selector)
            assert min(box[2] - box[0], box[3] - box[1]) > 0, f"{selector} has no size"
            assert is_drawn(picture, box), f"{selector} looks empty"


def test_the_page_says_what_the_evaluation_found(browser: Browser, report: Path) -> None:
    with browser.page(report) as page:
        text = page.evaluate("document.body.innerText")
        assert "lite0 with a projection head, trained by triplet" in text
        assert "Every label" not in text
        assert page.evaluate("document.querySelectorAll('.metrics tbody tr').length") == 5
        assert page.evaluate("document.querySelectorAll('.metrics .band').length") == 5
        assert "1 pair of pictures are one file twice" in text
        assert "same file twice" in text
        names = page.evaluate("[...document.querySelectorAll('#classes tbody th')].map(e => e.innerText)")
        assert sorted(names) == sorted(CLASSES)
        assert page.evaluate("document.querySelectorAll('#attributes h3').length") == 1
        assert page.evaluate("document.querySelectorAll('#queries .hit.right').length") > 10
        assert page.evaluate("document.querySelectorAll('#queries .hit.wrong').length") > 3


def test_names_in_the_data_cannot_become_markup(browser: Browser, report: Path) -> None:
    with browser.page(report) as page:
        assert page.evaluate("[...document.querySelectorAll('b')].every(e => e.innerText !== 'skirt')")
        assert "<b>skirt</b>" in page.evaluate("document.querySelector('#classes').innerText")
    assert "<script" not in report.read_text(encoding="utf-8")


def test_text_can_be_read_in_both_colour_schemes(browser: Browser, report: Path) -> None:
    """Contrast of 4.5 against what lies behind, as WCAG 2 asks for."""
    js = """(() => { const c = document.createElement('canvas').getContext('2d');
      const rgb = s => { c.clearRect(0, 0, 1, 1); c.fillStyle = s; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data] };
      const behind = e => { for (; e; e = e.parentElement) { const b = rgb(getComputedStyle(e).backgroundColor); if (b[3] == 255) return b } };
      const light = p => { const [r, g, b] = p.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b };
      return [...document.querySelectorAll('p, th, td, h1, h2, h3, a, figcaption, .mark, .flag, .label')].filter(e => e.innerText)
        .map(e => { const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort(); return [(b + .05) / (a + .05), e.innerText] })
        .sort((x, y) => x[0] - y[0])[0] })()"""  # noqa: E501
    for dark in (False, True):
        with browser.page(report, dark=dark) as page:
            contrast, text = page.evaluate(js)
            assert contrast >= 4.5, f"{text!r} has a contrast of {contrast:.2f} ({'dark' if dark else 'light'})"


def test_pictures_that_are_gone_leave_gaps_and_are_counted(
    browser: Browser, run: Path, shop: Path, tmp_path: Path
) -> None:
    (run / "evaluation").rename(tmp_path / "evaluation")
    elsewhere = shop.with_name("moved")
    shop.rename(elsewhere)
    try:
        path = write_report(tmp_path / "evaluation", tmp_path / "out" / "report.html")
    finally:
        elsewhere.rename(shop)
    with browser.page(path) as page:
        assert page.seen.complaints == []
        assert page.evaluate("document.images.length") == 0
        assert page.evaluate("document.querySelectorAll('.gap').length") > 10
        assert "pictures could not be read" in page.evaluate("document.querySelector('footer').innerText")


def test_a_machine_without_a_browser_fails_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHREG_BROWSER", "/nowhere/chromium")
    with pytest.raises(RuntimeError, match="make browser"):
        Browser()
    assert shutil.which("/nowhere/chromium") is None

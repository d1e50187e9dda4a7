"""Pages of what reads and writes texts: a real browser shows texts beside pictures, classes and captions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Browser
from drawn_shop import drawn

from fashreg.data.table import read_table
from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.evaluators.classification import ClassificationEvaluator
from fashreg.evaluators.composed import ComposedEvaluator
from fashreg.evaluators.cross_modal import CrossModalEvaluator
from fashreg.jobs.comparison import compare
from fashreg.jobs.evaluation import evaluate_table
from fashreg.jobs.evaluation_folder import load_evaluation, save_evaluation
from fashreg.report.comparing import write_comparison
from fashreg.report.said import read_captions, read_classes
from fashreg.report.writing import write_report
from fashreg.testing.tiny_texts import CLASSES, tiny_text_encoder

COLOURS = ("red", "blue", "<i>amber</i>")
EVALUATORS: dict[str, Any] = {
    "cross-modal": CrossModalEvaluator(),
    "composed": ComposedEvaluator(ks=(1, 5)),
    "by colour": ComposedEvaluator(ks=(1, 5), by="colour"),
    "classes": ClassificationEvaluator(),
    "captions": CaptioningEvaluator(),
}
SECTIONS = {
    "cross-modal": ["summary", "metrics", "classes", "queries", "back", "suspects", "map", "setting"],
    "composed": ["summary", "metrics", "classes", "queries", "setting"],
    "by colour": ["summary", "metrics", "attributes", "queries", "setting"],
    "classes": ["summary", "metrics", "classes", "named", "setting"],
    "captions": ["summary", "metrics", "captions", "setting"],
}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """The evaluation folder of an evaluator, with the model of a seed."""
    folder = tmp_path_factory.mktemp("texts")
    rows = []
    for row in range(24):
        drawn(row % 5, row // 5).save(folder / f"{row}.png")
        colour, kind = COLOURS[row % 3], CLASSES[row // 2 % 3]
        text = f"A {kind}, {colour}, for evenings that are long; number {row // 2} of a series with a long name"
        wanted = f"{(row * 7 + 3) % 24}.png"
        rows.append({"image": f"{row}.png", "product": f"p{row // 2}", "kind": kind, "colour": colour, "text": text})
        rows[-1] |= {"wanted": wanted, "target_product": f"p{(row * 7 + 3) % 24 // 2}"}
    pd.DataFrame(rows).to_csv(folder / "shop.csv", index=False)
    labels = {"classes": "kind", "captions": None, "cross-modal": "product"}

    def made(name: str, seed: int = 0) -> Path:
        out = folder / f"{name} {seed}".replace(" ", "-")
        if not out.exists():
            options: dict[str, Any] = {"text": "text", "label": labels.get(name, "target_product")}
            if name in ("composed", "by colour"):
                options["target"] = "wanted"
            table = read_table(str(folder / "shop.csv"), options, need_label=False)
            save_evaluation(evaluate_table(tiny_text_encoder(seed=seed), table, [EVALUATORS[name]]), out)
        return out

    return made


@pytest.mark.parametrize("name", list(EVALUATORS))
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_page_is_shown_whole(
    browser: Browser, evaluated: Any, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    report = write_report(evaluated(name), tmp_path / "report.html")
    with browser.page(report, width=width, dark=dark) as page:
        assert page.seen.complaints == []
        assert page.seen.requests == []
        assert page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == SECTIONS[name]
        assert page.evaluate("document.documentElement.scrollWidth") == width, "something sticks out to the right"
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.evaluate("document.querySelectorAll('main i:not([class])').length") == 0, "a text became markup"
        assert np.asarray(page.picture()).std() > 5


def test_texts_ask_for_pictures_and_pictures_for_texts(browser: Browser, evaluated: Any, tmp_path: Path) -> None:
    report = write_report(evaluated("cross-modal"), tmp_path / "report.html")
    with browser.page(report) as page:
        count = "document.querySelectorAll('{}').length"
        assert page.evaluate(count.format("#queries .answer > figure .words")) > 5
        assert page.evaluate(count.format("#queries .hit .photo")) > 50
        assert page.evaluate(count.format("#back .answer > figure .photo")) > 5
        assert page.evaluate(count.format("#back .hit .words")) > 50
        text = page.evaluate("document.body.innerText")
        assert "24 pictures and 24 texts searched" in text
        assert "nearest texts" in text


def test_a_composed_query_shows_its_picture_and_text_and_answers_are_targets(
    browser: Browser, evaluated: Any, tmp_path: Path
) -> None:
    for name in ("composed", "by colour"):
        report = write_report(evaluated(name), tmp_path / f"{name}.html")
        with browser.page(report) as page:
            answer = "document.querySelector('#queries .answer')"
            assert (
                page.evaluate(f"{answer}.querySelectorAll('figure:first-child > .photo, figure > .words').length") >= 2
            )
            assert page.evaluate(f"{answer}.querySelectorAll('.hit .photo').length") >= 5


def test_classes_are_a_matrix_with_mistakes_below(browser: Browser, evaluated: Any, tmp_path: Path) -> None:
    with browser.page(write_report(evaluated("classes"), tmp_path / "report.html")) as page:
        assert page.evaluate("document.querySelectorAll('#named svg .cell').length") >= 3
        assert page.evaluate("document.querySelectorAll('#named .doubt .photo').length") > 3


def test_captions_stand_beside_what_people_wrote(browser: Browser, evaluated: Any, tmp_path: Path) -> None:
    with browser.page(write_report(evaluated("captions"), tmp_path / "report.html")) as page:
        assert page.evaluate("document.querySelectorAll('#captions .doubt').length") == 12
        assert page.evaluate("document.querySelectorAll('#captions .doubt .words').length") == 24


def test_two_models_are_compared_by_texts_that_ask(browser: Browser, evaluated: Any, tmp_path: Path) -> None:
    for name in EVALUATORS:
        page = write_comparison(compare(evaluated(name, 0), evaluated(name, 1)), tmp_path / f"{name}.html")
        with browser.page(page) as opened:
            assert opened.seen.complaints == []
            if name == "cross-modal":
                assert opened.evaluate("document.querySelectorAll('#changes .answer .words').length") > 0


def test_mistakes_and_captions_are_chosen_by_what_the_evaluation_holds(evaluated: Any) -> None:
    found = load_evaluation(evaluated("classes"))
    items = {item["id"]: item for item in found.items}
    named = read_classes(found, items)
    wrong = [item for item in found.items if item["answers"][0][0] != item["label"]]
    assert named.mistakes == len(wrong) == round(24 * (1 - found.metrics["accuracy"]))
    shares = [one.answers[0][1] for one in named.wrong]
    assert shares == sorted(shares, reverse=True)
    assert sum(pair.count for pair in named.pairs) == len(wrong)
    assert read_captions(found, items) is None
    found = load_evaluation(evaluated("captions"))
    said = read_captions(found, {item["id"]: item for item in found.items})
    assert said.worst[0].value <= said.worst[-1].value <= said.best[-1].value <= said.best[0].value
    assert read_classes(found, {}) is None


def test_a_run_of_several_tasks_has_a_table_and_a_page_for_each(
    browser: Browser, evaluated: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    results: dict[str, Any] = {"before": None, "after": None, "tasks": {}, "tasks_before": {}}
    checks = {"mean_primary": 0.4}
    for task, name in (("find", "cross-modal"), ("write", "captions")):
        shutil.copytree(evaluated(name), run / f"evaluation-{task}")
        results["tasks"][task] = load_evaluation(evaluated(name)).as_dict()
        results["tasks_before"][task] = load_evaluation(evaluated(name, 1)).as_dict()
        checks |= {f"{task}/first": 0.1, f"{task}/{results['tasks'][task]['primary']}": 0.2}
    (run / "recipe.yaml").write_text("backbone: tiny-text\nhead: tiny-text\nlearner: tiny-tasks\n")
    (run / "results.json").write_text(json.dumps(results))
    lines = [{"kind": "evaluation", "experience": "all", "epoch": epoch, "metrics": checks} for epoch in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with browser.page(write_report(run, run / "report.html")) as page:
        assert page.seen.complaints == []
        assert page.evaluate("[...document.querySelectorAll('section')].map(s => s.id)")[:3] == [
            "summary",
            "tasks",
            "training",
        ]
        names = page.evaluate("[...document.querySelectorAll('#tasks tr.first th')].map(e => e.innerText)")
        assert names == ["mean_recall", "bleu@4"]
        links = page.evaluate("[...document.querySelectorAll('#tasks a')].map(e => e.getAttribute('href'))")
        assert links == ["report-find.html", "report-write.html"]
        legend = page.evaluate("[...document.querySelectorAll('#training .legend li')].map(e => e.innerText)")
        assert legend == ["mean_primary", "find/mean_recall", "write/bleu@4"]
        assert "neither a test nor a validation split" not in page.evaluate("document.body.innerText")
        assert "2 tasks, each measured by itself" in page.evaluate("document.body.innerText")
    with browser.page(run / "report-write.html") as page:
        assert page.evaluate("document.querySelectorAll('#captions .doubt').length") == 12

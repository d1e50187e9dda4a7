"""`fashreg report` on every kind of folder, and on what is none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fashreg.cli import run as fashreg
from fashreg.errors import FashregError, ModelError
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation
from fashreg.report import writing
from fashreg.report.subject import read_subject
from fashreg.report.writing import default_place, write_report
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder


def test_a_run_gets_its_page_inside_and_an_evaluation_beside_it(
    run: Path, tmp_path: Path, evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fashreg(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert "one file" in capsys.readouterr().out
    folder = save_evaluation(evaluation, tmp_path / "measured")
    assert default_place(folder) == tmp_path / "measured.html"
    assert fashreg(["report", str(folder), "--out", str(tmp_path / "a" / "b.html")]) == 0
    assert "Evaluation" in (tmp_path / "a" / "b.html").read_text(encoding="utf-8")


def test_the_same_folder_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    pages = [write_report(run, tmp_path / f"{n}.html").read_bytes() for n in "ab"]
    assert pages[0] == pages[1]


def test_the_evaluation_of_a_run_knows_its_run(run: Path) -> None:
    inside, whole = read_subject(run / "evaluation"), read_subject(run)
    assert inside.is_run
    assert (inside.name, inside.recipe, len(inside.steps)) == (whole.name, whole.recipe, 8)
    assert whole.before["map@r"] == 0.1


def test_a_run_that_was_stopped_shows_its_log_and_what_is_missing(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "evaluation")
    (run / "results.json").unlink()
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"kind": "train", "st')  # cut short
    text = write_report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What is not here" in text
    assert "has not ended, or was stopped" in text
    assert "<polyline" in text


def test_a_model_is_no_run_and_gets_no_page_inside(tmp_path: Path) -> None:
    folder = save_encoder(tiny_encoder(), tmp_path / "run/model", recipe={"seed": 1})
    before = sorted(path.name for path in folder.iterdir())
    assert "recipe.yaml" in before
    with pytest.raises(ModelError, match=r"neither a run folder nor an evaluation folder; did you mean .*run\?"):
        write_report(folder, default_place(folder))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_numbers_alone_are_shown_where_nothing_else_was_kept(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "evaluation")
    text = write_report(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "only the numbers of this evaluation were kept" in text
    assert 'class="metrics"' in text


def test_vectors_that_were_not_kept_can_be_made_again(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_evaluation(replace(evaluation, vectors=None), tmp_path / "measured")
    without = write_report(folder, tmp_path / "without.html").read_text(encoding="utf-8")
    assert "--model MODEL makes them again" in without
    assert 'id="map"' not in without
    monkeypatch.setattr(writing, "MOST_EMBEDDED", 20)
    again = write_report(folder, tmp_path / "with.html", model=tiny_encoder()).read_text(encoding="utf-8")
    assert 'id="map"' in again
    assert "among 20 pictures" in again


def test_what_is_no_run_is_named(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fashreg(["report", str(tmp_path / "nothing")]) == 1
    assert "no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="neither a run folder nor an evaluation folder"):
        read_subject(tmp_path / "empty")
    (run / "model").mkdir()
    with pytest.raises(ModelError, match=r"did you mean .*first"):
        read_subject(run / "model")
    with pytest.raises(FashregError, match="is a folder"):
        write_report(run, tmp_path)


def test_a_damaged_file_is_named_and_no_page_is_left(run: Path, tmp_path: Path) -> None:
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n{oops}\n{"kind": "train", "step": 3}\n')
    with pytest.raises(ModelError, match=r"metrics\.jsonl: line 2"):
        write_report(run, tmp_path / "page.html")
    assert not list(tmp_path.glob("*.html"))
    with (run / "evaluation" / "items.jsonl").open("a") as items:
        items.write("{}\n")
    with pytest.raises(ModelError, match=r"items\.jsonl"):
        write_report(run, tmp_path / "page.html")

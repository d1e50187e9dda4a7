"""What a person types, from a table to an answer."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file


def table_of(shop: Path) -> Path:
    return shop / "atelier" / "table.csv"


def test_training_leaves_a_run_folder_that_explains_itself(shop: Path) -> None:
    run = shop / "run"
    for name in ("recipe.yaml", "environment.json", "metrics.jsonl", "results.json"):
        assert (run / name).is_file(), name
    for name in ("config.json", "model.safetensors", "manifest.json", "README.md", "recipe.yaml"):
        assert (run / "model" / name).is_file(), name
    results = json.loads((run / "results.json").read_text())
    assert set(results["before"]["metrics"]) == set(results["after"]["metrics"]) >= {"recall@1", "recall@10", "map@r"}


def test_training_leaves_its_report(shop: Path) -> None:
    page = (shop / "run" / "report.html").read_text(encoding="utf-8")
    for part in ("map@r", "<svg", "data:image"):
        assert part in page


def test_a_report_that_cannot_be_written_fails_no_training(shop: Path, fashreg, tmp_path: Path, monkeypatch) -> None:
    def broken(*_: object, **__: object) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr("fashreg.report.writing.write_report", broken)
    table = f"data.table={table_of(shop)}"
    done = fashreg("train", "quick", "--set", table, "--set", "trainer.max_steps=1", "--out", tmp_path / "run")
    assert done.status == 0
    assert "disk full" in done.err
    assert "fashreg report" in done.err
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_evaluate_prints_one_json_object_with_metrics(shop: Path, fashreg) -> None:
    done = fashreg("evaluate", shop / "run/model", "--table", table_of(shop), "--split", "test", "--json")
    assert done.status == 0, done.err
    result = json.loads(done.out)
    assert {"recall@1", "recall@10", "map@r"} <= set(result["metrics"])
    assert all(0 <= v <= 1 for v in result["metrics"].values())
    assert result["protocol"]["rule"] == "leave-one-out"


def test_evaluate_agrees_with_what_training_measured_at_its_end(shop: Path, fashreg) -> None:
    done = fashreg("evaluate", shop / "run/model", "--table", table_of(shop), "--split", "test", "--json")
    after = json.loads((shop / "run/results.json").read_text())["after"]["metrics"]
    assert json.loads(done.out)["metrics"] == pytest.approx(after, abs=1e-6)


def test_evaluate_takes_another_label_column(shop: Path, fashreg) -> None:
    ours = ("evaluate", shop / "run/model", "--table", table_of(shop), "--split", "test", "--json")
    by_category = json.loads(fashreg(*ours, "--label", "category").out)
    assert by_category["protocol"]["label"] == "category"
    assert by_category["metrics"] != json.loads(fashreg(*ours).out)["metrics"]


def test_embed_writes_vectors_and_ids_in_the_tables_order(shop: Path, fashreg, tmp_path: Path) -> None:
    done = fashreg("embed", shop / "run/model", "--table", table_of(shop), "--out", tmp_path / "v.safetensors")
    assert done.status == 0, done.err
    stored = load_file(tmp_path / "v.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "v.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with table_of(shop).open() as file:
        rows = list(csv.DictReader(file))
    assert stored["vectors"].shape[0] == len(rows) == len(set(stored["ids"].tolist()))
    assert torch.allclose(stored["vectors"].norm(dim=1), torch.ones(len(rows)), atol=1e-5)


def test_a_built_index_answers_a_picture_of_the_gallery_without_itself(shop: Path, fashreg, tmp_path: Path) -> None:
    built = fashreg("index", "build", shop / "run/model", "--table", table_of(shop), "--out", tmp_path / "index")
    assert built.status == 0, built.err
    picture = next((shop / "atelier").rglob("*.png"))
    done = fashreg("search", tmp_path / "index", "--image", picture, "-k", 3, "--json", "--sheet", tmp_path / "s.png")
    assert done.status == 0, done.err
    (answer,) = json.loads(done.out)
    assert len(answer["hits"]) == 3
    assert str(picture.resolve()) not in {hit["image"] for hit in answer["hits"]}
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert Image.open(tmp_path / "s.png").width > 400
    outside = tmp_path / "copy.png"
    shutil.copy(picture, outside)
    (answer,) = json.loads(fashreg("search", tmp_path / "index", "--image", outside, "-k", 1, "--json").out)
    assert Path(answer["hits"][0]["image"]).resolve() == picture.resolve()


def test_k_larger_than_the_gallery_gives_the_whole_gallery(shop: Path, fashreg, tmp_path: Path) -> None:
    ours = ("--table", table_of(shop), "--split", "test")
    fashreg("index", "build", shop / "run/model", *ours, "--out", tmp_path / "index", "--index", "faiss")
    picture = next((shop / "atelier").rglob("*.png"))
    (answer,) = json.loads(fashreg("search", tmp_path / "index", "--image", picture, "-k", 999, "--json").out)
    with table_of(shop).open() as file:
        test_rows = sum(row["split"] == "test" for row in csv.DictReader(file))
    assert test_rows - 1 <= len(answer["hits"]) <= test_rows


def test_an_index_of_another_model_is_refused(shop: Path, fashreg, tmp_path: Path) -> None:
    from fashreg import load

    fashreg("index", "build", shop / "run/model", "--table", table_of(shop), "--out", tmp_path / "index")
    other = load(shop / "run/model")
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    from fashreg.storage import save_encoder

    save_encoder(other, tmp_path / "other")
    picture = next((shop / "atelier").rglob("*.png"))
    done = fashreg("search", tmp_path / "index", "--image", picture, "--model", tmp_path / "other")
    assert done.status == 1
    assert "another model" in done.err
    assert "index build" in done.err


def test_a_dry_run_checks_and_trains_nothing(shop: Path, fashreg, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = fashreg("train", "quick", "--set", f"data.table={table_of(shop)}", "--dry-run")
    assert done.status == 0, done.err
    assert "train" in done.out
    assert list(tmp_path.iterdir()) == []


def test_two_equal_seeds_give_equal_models(shop: Path, fashreg, tmp_path: Path) -> None:
    ours = ("train", "quick", "--set", f"data.table={table_of(shop)}", "--set", "trainer.epochs=1")
    assert fashreg(*ours, "--out", tmp_path / "b").status == 0
    a, b = load_file(shop / "run/model/model.safetensors"), load_file(tmp_path / "b/model/model.safetensors")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert fashreg(*ours, "--out", tmp_path / "c", "--set", "seed=1").status == 0
    c = load_file(tmp_path / "c/model/model.safetensors")
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_search_without_a_picture_asks_with_examples_of_the_gallery(shop: Path, fashreg, tmp_path: Path) -> None:
    fashreg("index", "build", shop / "run/model", "--table", table_of(shop), "--out", tmp_path / "index")
    answers = json.loads(fashreg("search", tmp_path / "index", "-k", 2, "--json").out)
    assert len(answers) == 4
    assert all(answer["query"] not in {hit["image"] for hit in answer["hits"]} for answer in answers)

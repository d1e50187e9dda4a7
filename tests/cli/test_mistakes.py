"""Bad input: one clear line on standard error, status 1, no traceback."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Twelve small pictures of four classes."""
    made = []
    for i in range(12):
        name = f"{i}.png"
        Image.new("RGB", (40, 40), (20 * i, 90, 255 - 20 * i)).save(tmp_path / name)
        made.append({"image": name, "label": f"c{i % 4}", "split": "train"})
    return made


def one_clear_line(done, *words: str) -> None:
    assert done.status == 1, (done.out, done.err)
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def train(fashreg, table: Path, *more: str):
    ours = ["--set", f"data.table={table}", "--set", "trainer.batch_size=8", "--out", table.parent / "run"]
    return fashreg("train", "quick", *ours, *more)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "los"), ("no kind 'los'", "did you mean 'loss'")),
        (("show", "loss", "contrastve"), ("did you mean 'contrastive'",)),
        (("show", "backbone", "nothing-like-it"), ("there are:",)),
        (("train", "quik", "--out", "x"), ("did you mean 'quick'",)),
        (("train", "quick", "--set", "trainer.epohcs=2", "--out", "x"), ("did you mean 'epochs'",)),
        (("train", "quick", "--set", "loss.temprature=2", "--out", "x"), ("loss", "temprature")),
        (("train", "quick", "--set", "data.table=none.csv", "--out", "x"), ("none.csv",)),
        (("train", "quick"), ("--out runs/NAME",)),
        (("train", "quick", "--set", "backbone.model=resnet1000", "--out", "x"), ("resnet1000",)),
        (("evaluate", "nowhere", "--table", "t.csv"), ("no model folder nowhere",)),
        (("search", "nowhere", "--image", "x.jpg"), ("nowhere",)),
    ],
)
def test_a_wrong_name_or_place(fashreg, arguments, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    one_clear_line(fashreg(*arguments), *words)


def test_wrong_usage_has_status_2(fashreg) -> None:
    assert fashreg("train").status == 2
    assert fashreg("no-such-command").status == 2


def test_debug_shows_the_traceback() -> None:
    from fashreg.cli import run
    from fashreg.errors import UnknownComponentError

    with pytest.raises(UnknownComponentError):
        run(["list", "los", "--debug"])


def test_a_missing_column_names_the_nearest(fashreg, rows, tmp_path) -> None:
    table = write_table(tmp_path, rows)
    one_clear_line(train(fashreg, table, "--set", "data.label=lable"), "lable", "label")


def test_missing_damaged_and_absent_pictures_are_named_with_their_rows(fashreg, rows, tmp_path) -> None:
    rows[3]["image"] = "gone.png"
    table = write_table(tmp_path, rows)
    one_clear_line(train(fashreg, table), "gone.png", "3")
    rows[3]["image"] = "3.png"
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    (tmp_path / "4.png").write_text("<html>not a picture</html>")
    one_clear_line(train(fashreg, write_table(tmp_path, rows)), "3.png", "4.png")


def test_a_table_without_labels_is_checked_all_the_same(fashreg, rows, tmp_path) -> None:
    path = tmp_path / "unlabelled.csv"
    path.write_text("\n".join(["image,colour", *(f"{row['image']},{row['label']}" for row in rows)]))
    done = fashreg("data", "check", path)
    assert done.status == 0, done.err
    assert f"{len(rows)} pictures, no labels" in done.out
    assert "--set label=COLUMN" in done.out
    assert fashreg("data", "check", path, "--set", "data.label=colour").status == 0  # as messages spell it


def test_empty_and_float_labels_are_named(fashreg, rows, tmp_path) -> None:
    rows[5]["label"] = ""
    one_clear_line(train(fashreg, write_table(tmp_path, rows)), "label", "5")
    rows[5]["label"] = "1.5"
    for row in rows:
        row["label"] = "1.5"
    one_clear_line(train(fashreg, write_table(tmp_path, rows)), "1.5")


def test_a_split_with_one_class_cannot_train(fashreg, rows, tmp_path) -> None:
    for row in rows:
        row["label"] = "same"
    one_clear_line(train(fashreg, write_table(tmp_path, rows)), "class")


def test_a_batch_larger_than_the_set_says_both_numbers(fashreg, rows, tmp_path) -> None:
    done = train(fashreg, write_table(tmp_path, rows), "--set", "trainer.batch_size=64")
    one_clear_line(done, "64", "12")


def test_labels_above_2_to_the_24_stay_apart(fashreg, rows, tmp_path) -> None:
    for i, row in enumerate(rows):
        row["label"] = str(2**53 + 1 + i % 4)
    done = train(fashreg, write_table(tmp_path, rows), "--dry-run")
    assert done.status == 0, done.err
    assert "4 classes" in done.out


def test_a_memory_that_would_never_start_is_refused(fashreg, rows, tmp_path) -> None:
    done = train(fashreg, write_table(tmp_path, rows), "--set", "memory.start_step=1000")
    one_clear_line(done, "start_step", "1000")


def test_a_memory_with_a_loss_that_ignores_it_is_refused(fashreg, rows, tmp_path) -> None:
    done = train(fashreg, write_table(tmp_path, rows), "--set", "loss=proxy-anchor")
    one_clear_line(done, "proxy-anchor", "memory")


def test_a_run_folder_that_holds_another_run_is_not_overwritten(fashreg, shop) -> None:
    ours = ("train", "quick", "--set", f"data.table={shop}/atelier/table.csv", "--out", shop / "run")
    before = (shop / "run/model/model.safetensors").read_bytes()
    one_clear_line(fashreg(*ours), "run", "--resume")
    assert (shop / "run/model/model.safetensors").read_bytes() == before


def test_a_query_that_is_no_picture_is_named(fashreg, shop, tmp_path) -> None:
    table = shop / "atelier/table.csv"
    fashreg("index", "build", shop / "run/model", "--table", table, "--out", tmp_path / "index")
    (tmp_path / "q.png").write_text("no picture")
    one_clear_line(fashreg("search", tmp_path / "index", "--image", tmp_path / "q.png"), "q.png")
    one_clear_line(fashreg("search", tmp_path / "index", "--image", tmp_path / "gone.png"), "gone.png")


def test_a_damaged_model_is_named(fashreg, shop, tmp_path) -> None:
    import shutil

    shutil.copytree(shop / "run/model", tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    table = shop / "atelier/table.csv"
    one_clear_line(fashreg("evaluate", tmp_path / "model", "--table", table), "model.safetensors")

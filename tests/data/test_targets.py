"""The picture that a picture and its text ask for: read, checked, in batches; and classes shared by several tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.config_data import AugmentConfig
from fashreg.data.classes import in_classes
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.splits import hold_out_rows
from fashreg.data.table import Table, check_table, read_table
from fashreg.data.transforms import evaluation_transform, training_transform
from fashreg.errors import DataError
from fashreg.values import InputSpec

SPEC = InputSpec(size=(8, 8), crop=1.0)
NAMES = ("a", "b", "c")
CONFIG = {"target": "wanted", "text": "wish", "label": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, name in enumerate(NAMES):
        Image.new("RGB", (12, 12), (80 * place, 100, 20)).save(tmp_path / f"{name}.png")
    return tmp_path


def wishes(folder: Path, targets: list[str], **more: Any) -> Table:
    images = ["a.png", "a.png", "b.png"][: len(targets)]
    frame = pd.DataFrame({"image": images, "wanted": targets, "wish": ["in blue", "longer", "red"][: len(targets)]})
    return read_table(frame, {"root": str(folder), **CONFIG, **more}, need_label=False)


def test_a_picture_may_ask_in_several_rows_and_every_row_keeps_its_target(folder: Path) -> None:
    table = wishes(folder, ["b.png", "c.png", "c.png"])
    assert table.targets == [str(folder / name) for name in ("b.png", "c.png", "c.png")]
    assert table.take([2, 0]).targets == [str(folder / "c.png"), str(folder / "b.png")]
    assert wishes(folder, ["b.png", ""]).targets == [str(folder / "b.png"), ""]


def test_without_the_column_there_are_no_targets_and_a_picture_stands_in_one_row(folder: Path) -> None:
    with pytest.raises(DataError, match="occurs more than once"):
        wishes(folder, ["b.png", "c.png"], target=None)


def test_a_target_column_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(DataError, match=r'no column "wantd"; did you mean "wanted"'):
        wishes(folder, ["b.png"], target="wantd")


def test_target_files_are_looked_at_like_the_pictures(folder: Path) -> None:
    with pytest.raises(DataError, match=r'missing files: 1 row: 1 \("d.png"\)'):
        check_table(wishes(folder, ["b.png", "d.png"]), classes=0)
    (folder / "e.png").write_bytes(b"no picture")
    report = check_table(wishes(folder, ["b.png", "e.png", ""]), on_bad_image="skip", classes=0)
    assert report.bad.tolist() == [False, True, False]


def test_what_was_looked_at_once_is_not_looked_at_again(folder: Path) -> None:
    looked: dict[str, str | None] = {}
    table = wishes(folder, ["b.png", "c.png"])
    check_table(table, classes=0, looked=looked)
    assert looked == {str(folder / f"{name}.png"): None for name in NAMES}
    (folder / "c.png").unlink()
    check_table(table, classes=0, looked=looked)


def test_targets_are_part_of_the_fingerprint_and_tables_without_keep_theirs(folder: Path) -> None:
    one, other = wishes(folder, ["b.png"]), wishes(folder, ["c.png"])
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == wishes(folder, ["b.png"]).fingerprint
    assert wishes(folder, ["b.png"], target=None).fingerprint == wishes(folder, ["c.png"], target=None).fingerprint


def batch_of(table: Table, transform: Any, epoch: int = 0, **options: Any) -> Any:
    dataset = TableDataset(table, transform, seed=3, **options)
    return next(training_batches(dataset, [list(range(len(table)))], epoch=epoch, workers=0))


def test_a_batch_holds_the_target_of_every_row_prepared_as_a_picture_is(folder: Path) -> None:
    table, plain = wishes(folder, ["b.png", "c.png", "a.png"]), evaluation_transform(SPEC)
    batch = batch_of(table, plain, targets=True)
    alone = read_table(
        pd.DataFrame({"image": ["b.png", "c.png", "a.png"]}), {"root": str(folder), "label": None}, need_label=False
    )
    assert torch.equal(batch.targets, batch_of(alone, plain).images)
    assert batch_of(table, plain).targets is None


def test_a_target_is_varied_on_its_own(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    table = wishes(folder, ["a.png", "a.png"])  # the target is the picture itself
    transform = training_transform(SPEC, AugmentConfig())
    first, again = batch_of(table, transform, targets=True), batch_of(table, transform, targets=True)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, first.images)
    assert not torch.equal(first.targets[0], first.targets[1])
    assert not torch.equal(first.targets, batch_of(table, transform, epoch=1, targets=True).targets)
    twice = batch_of(table, transform, views=2, targets=True)
    assert torch.equal(twice.targets, first.targets)
    assert torch.equal(twice.images, first.images)
    assert not torch.equal(twice.second_view, twice.targets)


def test_batches_with_targets_need_one_in_every_row(folder: Path) -> None:
    for table in (wishes(folder, ["b.png", ""]), wishes(folder, ["b.png"], target=None)):
        with pytest.raises(ValueError, match="a target picture in every row"):
            TableDataset(table, evaluation_transform(SPEC), targets=True)


def labelled(folder: Path, labels: list[str]) -> Table:
    for row in range(len(labels)):
        (folder / f"{row}.jpg").write_text(str(row))
    frame = pd.DataFrame({"image": [f"{row}.jpg" for row in range(len(labels))], "label": labels})
    return read_table(frame, {"root": str(folder)}, need_label=False)


def test_classes_keep_their_codes_in_another_table_and_unknown_ones_are_left_out(tmp_path: Path) -> None:
    found, strange = in_classes(labelled(tmp_path, ["shirt", "coat", "dress", "", "coat"]), ["dress", "hat", "shirt"])
    assert found.labels.tolist() == [2, 0]
    assert (found.label_names, strange) == (["dress", "hat", "shirt"], ["coat"])
    assert found.images == ["0.jpg", "2.jpg"]


def test_rows_held_out_leave_something_of_every_class_in_training(tmp_path: Path) -> None:
    table = labelled(tmp_path, ["a"] * 8 + ["b"] * 4 + ["c"])
    train, held = hold_out_rows(table, 0.25, seed=1)
    assert sorted([*train.images, *held.images]) == sorted(table.images)
    assert [held.label_names[code] for code in held.labels] == ["a", "a", "b"]
    assert train.label_names == ["a", "b", "c"]
    assert hold_out_rows(table, 0.25, seed=1)[1].images == held.images
    backwards = table.take(np.arange(len(table))[::-1].copy())
    assert sorted(hold_out_rows(backwards, 0.25, seed=1)[1].images) == sorted(held.images)
    assert {tuple(hold_out_rows(table, 0.25, seed=seed)[1].images) for seed in range(4)} != {tuple(held.images)}


def test_too_few_rows_to_hold_any_out_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.holdout=0"):
        hold_out_rows(labelled(tmp_path, ["a", "b", "c"]), 0.3, seed=0)

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
from fashreg.data.decoded import decoded_pictures
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.pictures import open_picture
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


@pytest.fixture
def noise(folder: Path) -> Path:
    """Pictures of noise, 12 pixels wide: nothing that is scaled or shifted stays the same."""
    random = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


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


def test_a_target_is_varied_on_its_own(noise: Path) -> None:
    table = wishes(noise, ["a.png", "a.png"])  # the target is the picture itself
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


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of pictures that are decoded, by name."""
    seen: list[str] = []

    def spied(source: Any, **how: Any) -> Image.Image:
        seen.append(Path(source).name)
        return open_picture(source, **how)

    monkeypatch.setattr("fashreg.data.loader.open_picture", spied)
    return seen


def kept(table: Table, folder: Path, short_side: int = 12, **how: Any) -> dict[str, Any]:
    store = decoded_pictures(table, short_side, targets=True, folder=folder / "store", workers=1, **how)
    return {"decoded": store, "decoded_targets": store.targets}


def test_decoded_targets_are_those_of_the_files_to_the_bit_whatever_varies_them(noise: Path) -> None:
    table = wishes(noise, ["b.png", "c.png", "a.png"])
    for transform in (evaluation_transform(SPEC), training_transform(SPEC, AugmentConfig())):
        for epoch in range(3):
            files = batch_of(table, transform, epoch=epoch, targets=True, views=2)
            store = batch_of(table, transform, epoch=epoch, targets=True, views=2, **kept(table, noise))
            for name in ("images", "second_view", "targets"):
                assert torch.equal(getattr(store, name), getattr(files, name))


def test_each_file_is_decoded_once_for_all_rows_epochs_and_runs(noise: Path, opened: list[str]) -> None:
    table = wishes(noise, ["b.png", "c.png", "c.png"])  # a.png asks twice, b.png asks and is asked for
    for _run in range(2):
        stores = kept(table, noise)
        for epoch in range(3):
            batch_of(table, evaluation_transform(SPEC), epoch=epoch, targets=True, **stores)
    assert sorted(opened) == ["a.png", "b.png", "c.png"]
    opened.clear()
    batch_of(table, evaluation_transform(SPEC), targets=True)
    assert len(opened) == 6


def test_the_size_that_is_announced_is_that_of_the_different_files(noise: Path) -> None:
    said: list[str] = []
    stores = kept(wishes(noise, ["b.png", "c.png", "c.png"]), noise, announce=said.append)
    assert "3 decoded pictures" in said[0]
    assert len(stores["decoded"].blob.data) == 3 * 12 * 12 * 3
    assert (len(stores["decoded"]), len(stores["decoded_targets"])) == (3, 3)


def test_a_large_target_is_reduced_as_a_picture_is(noise: Path) -> None:
    store = decoded_pictures(wishes(noise, ["b.png", "a.png"]), 6, targets=True, folder=noise / "store")
    assert store.targets is not None
    assert store[0].shape == (6, 6, 3)
    assert np.array_equal(store.targets[1], store[0])


def test_boxes_cut_pictures_and_not_targets_and_a_row_may_have_no_target(noise: Path) -> None:
    frame = pd.DataFrame({"image": ["a.png", "b.png"], "wanted": ["a.png", ""], "wish": ["red", ""]})
    boxes = {"x_1": [0, 1], "y_1": [0, 2], "x_2": [5, 9], "y_2": [7, 9]}
    table = read_table(frame.assign(**boxes), {"root": str(noise), **CONFIG}, need_label=False)
    store = decoded_pictures(table, 12, targets=True, folder=noise / "store")
    assert store.targets is not None
    assert [store[row].shape for row in range(2)] == [(7, 5, 3), (7, 8, 3)]
    assert np.array_equal(store.targets[0], np.asarray(Image.open(noise / "a.png")))
    with pytest.raises(IndexError, match="row 1 has no such picture"):
        store.targets[1]
    assert decoded_pictures(table, 12, folder=noise / "store").targets is None


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

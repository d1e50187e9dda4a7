from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fashreg.data.splits import hold_out, training_tables, usable
from fashreg.data.table import Table, check_table, read_table
from fashreg.errors import DataError

Shop = Callable[..., pd.DataFrame]


def spoil(folder: Path) -> None:
    """One missing, one that is no picture, one cut short."""
    (folder / "pictures/001.png").unlink()
    (folder / "pictures/004.png").write_text("no picture")
    whole = (folder / "pictures/005.png").read_bytes()
    (folder / "pictures/005.png").write_bytes(whole[: len(whole) // 2])


def test_a_good_table_is_counted(table: Table) -> None:
    report = check_table(table)
    assert (report.pictures, report.classes, report.single_image_classes, report.largest_class) == (12, 3, 0, 4)
    assert not report.bad.any()
    assert not report.warnings
    assert str(report) == "12 pictures, 3 classes, the largest of 4"


def test_every_bad_file_is_named_in_one_error(table: Table, tmp_path: Path) -> None:
    spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        check_table(table)
    message = str(caught.value)
    for part in ('1 ("pictures/001.png")', '4 ("pictures/004.png")', '5 ("pictures/005.png")'):
        assert part in message
    for part in ("missing files", "files that are not pictures", "damaged or truncated", "data.on_bad_image=skip"):
        assert part in message
    assert caught.value.rows == (1, 4, 5)


def test_rows_are_counted_in_the_file_also_after_a_split_was_taken(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    (tmp_path / frame.loc[10, "image"]).unlink()
    with pytest.raises(DataError) as caught:
        check_table(read_table(frame, {"root": str(tmp_path)}, split="test"))
    assert caught.value.rows == (10,)


def test_only_the_first_examples_are_listed(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=10, each=4)
    for name in frame["image"]:
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="missing files: 40 rows: ") as caught:
        check_table(read_table(frame, {"root": str(tmp_path)}))
    assert str(caught.value).count(".png") == 5
    assert len(caught.value.rows) == 20


def test_bad_files_can_be_left_out(table: Table, tmp_path: Path) -> None:
    spoil(tmp_path)
    report = check_table(table, on_bad_image="skip")
    assert report.bad.nonzero()[0].tolist() == [1, 4, 5]
    assert len(report.warnings) == 3
    config = {"root": str(tmp_path), "on_bad_image": "skip"}
    kept = training_tables(config, source=table.frame).train
    assert kept.rows.tolist() == [0, 2, 3, 6, 7]


def test_skipping_never_leaves_an_empty_table(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=2)
    for name in frame["image"]:
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match="missing files"):
        check_table(read_table(frame, {"root": str(tmp_path)}), on_bad_image="skip")


def test_without_pictures_only_existence_is_looked_at(table: Table, tmp_path: Path) -> None:
    (tmp_path / "pictures/004.png").write_text("no picture")
    check_table(table, pictures=False)
    (tmp_path / "pictures/004.png").unlink()
    with pytest.raises(DataError, match="missing files"):
        check_table(table, pictures=False)


def test_classes_with_one_picture_are_a_warning(table: Table) -> None:
    report = check_table(table.take([0, 1, 4, 8]))
    assert report.single_image_classes == 2
    assert report.warnings == ("2 of 3 classes have a single picture, which never makes a positive pair",)
    assert str(report).endswith("\nwarning: " + report.warnings[0])


def test_training_refuses_a_split_with_one_class(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=2)
    with pytest.raises(DataError, match=r'2 or more classes are needed, and there is 1 \("style 0"\)'):
        training_tables({"root": str(tmp_path)}, source=frame)


def test_a_table_of_its_own_for_training_and_validation(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=5)
    frame["split"] = ["train"] * 12 + ["val"] * 8
    frame.to_csv(tmp_path / "t.csv", index=False)
    tables = training_tables({"table": str(tmp_path / "t.csv"), "holdout": 0.5})
    assert tables.validation is not None
    assert (len(tables.train), len(tables.validation)) == (12, 8)
    assert tables.validation.label_names == ["style 3", "style 4"]


def test_without_a_validation_split_nothing_is_held_out_unless_asked(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=6)
    assert training_tables({"root": str(tmp_path)}, source=frame).validation is None
    tables = training_tables({"root": str(tmp_path), "holdout": 0.4}, source=frame)
    assert tables.validation is not None
    assert set(tables.validation.label_names).isdisjoint(tables.train.label_names)
    assert (tables.train.num_classes, tables.validation.num_classes) == (3, 2)


def test_what_is_held_out_depends_on_the_seed_and_not_on_the_order_of_rows(shop: Shop, tmp_path: Path) -> None:
    frame, config = shop(classes=12, split=False), {"root": str(tmp_path)}
    table, turned = read_table(frame, config), read_table(frame[::-1], config)
    chosen = [hold_out(table, 0.3, seed)[1].label_names for seed in range(6)]
    assert chosen[0] == hold_out(turned, 0.3, 0)[1].label_names
    assert len({tuple(names) for names in chosen}) > 1


def test_classes_with_one_picture_stay_in_training(shop: Shop, tmp_path: Path) -> None:
    frame = shop(classes=8, each=2, split=False)
    single = read_table(frame, {"root": str(tmp_path)}).take([0, 2, 4, 6, *range(8, 16)])
    train, validation = hold_out(single, 0.5, 0)
    assert {"style 0", "style 1", "style 2", "style 3"} <= set(train.label_names)
    assert validation.num_classes == 2


def test_too_few_classes_to_hold_out_is_told(table: Table) -> None:
    with pytest.raises(DataError, match=r"too few to hold 2 out.*data.holdout=0"):
        hold_out(table, 0.1, 0)


def test_a_whole_table_is_usable_as_it_is(table: Table) -> None:
    from fashreg.config_data import DataConfig

    assert usable(table, DataConfig())[0] is table


def test_thousands_of_files_are_looked_at_by_their_headers(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr("fashreg.data.picture_check._decodes", lambda path: decoded.append(path))
    check_table(table)
    assert not decoded
    os.truncate(table.paths[3], 80)
    check_table(table)
    assert decoded == [table.paths[3]]

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fashreg
from fashreg.config_data import DataConfig
from fashreg.data.columns import codes_of, exact_text, flags, whole_numbers
from fashreg.data.table import Table, read_table
from fashreg.errors import DataError

Shop = Callable[..., pd.DataFrame]


def saved(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_a_file_and_a_dataframe_give_the_same_table(shop: Shop, tmp_path: Path, name: str) -> None:
    frame = shop()
    from_file, from_frame = read_table(saved(frame, tmp_path / name)), read_table(frame, {"root": str(tmp_path)})
    assert from_file.fingerprint == from_frame.fingerprint
    assert from_file.paths == from_frame.paths
    assert all(Path(path).is_file() for path in from_file.paths)
    assert from_file.label_names == ["style 0", "style 1", "style 2"]
    assert from_file.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert from_file.labels.dtype == np.int64
    assert from_file.ids.tolist() == list(range(12))
    assert from_file.has_labels
    assert from_file.num_classes == 3


def test_read_table_is_a_public_name() -> None:
    assert fashreg.read_table is read_table


def test_semicolons_between_cells_are_understood(shop: Shop, tmp_path: Path) -> None:
    shop().to_csv(tmp_path / "t.csv", sep=";", index=False)
    assert len(read_table(tmp_path / "t.csv")) == 12


def test_a_split_is_taken_and_its_labels_are_numbered_from_0(shop: Shop, tmp_path: Path) -> None:
    test = read_table(saved(shop(), tmp_path / "t.csv"), split="test")
    assert test.labels.tolist() == [0] * 4
    assert test.label_names == ["style 2"]
    assert test.rows.tolist() == [8, 9, 10, 11]
    assert test.ids.tolist() == [8, 9, 10, 11]


def test_without_a_split_column_every_row_is_for_training(shop: Shop, tmp_path: Path) -> None:
    frame = shop(split=False)
    config = {"root": str(tmp_path)}
    assert len(read_table(frame, config, split="train")) == 12
    with pytest.raises(DataError, match=r'split "test" was asked for.*data\.split=NAME'):
        read_table(frame, config, split="test")


def test_an_empty_split_names_the_splits_that_there_are(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match='split "validation" is empty; column "split" has "test", "train"'):
        read_table(shop(), {"root": str(tmp_path)}, split="validation")


@pytest.mark.parametrize("spelling", ["val", "valid", "dev", "validation"])
def test_validation_goes_by_several_names(shop: Shop, tmp_path: Path, spelling: str) -> None:
    frame = shop()
    frame.loc[0:3, "split"] = spelling
    assert len(read_table(frame, {"root": str(tmp_path)}, split="validation")) == 4


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_labels_above_two_to_the_53_stay_apart(shop: Shop, tmp_path: Path, form: str) -> None:
    frame = shop()
    frame["label"] = [2**53 + number // 4 for number in range(12)]  # as floats the first two would be equal
    source = frame if form == "frame" else saved(frame, tmp_path / f"t.{form}")
    read = read_table(source, {"root": str(tmp_path)})
    assert read.label_names == [str(2**53), str(2**53 + 1), str(2**53 + 2)]
    assert read.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_whole_number_labels_sort_by_value_and_text_keeps_leading_zeros() -> None:
    assert codes_of(["10", "9", "", "9"])[1] == ["9", "10"]
    assert codes_of(["10", "9", "", "9"])[0].tolist() == [1, 0, -1, 0]
    assert codes_of(["007", "7"])[1] == ["007", "7"]
    assert codes_of(["b", "10", "9"])[1] == ["10", "9", "b"]


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.5], [1.0, 2.0, float("nan")]])
def test_float_labels_are_refused_with_what_to_type(shop: Shop, tmp_path: Path, values: list[float]) -> None:
    frame = shop()
    frame["label"] = np.repeat(values, 4)
    with pytest.raises(DataError, match="holds floats") as caught:
        read_table(saved(frame, tmp_path / "t.csv"))
    assert 'astype("Int64")' in str(caught.value)
    assert '0 ("1.0")' in str(caught.value)
    assert caught.value.column == "label"
    assert caught.value.rows[0] == 0


def test_text_that_looks_like_a_number_here_and_there_is_text(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["label"] = np.repeat(["1.0", "2.5", "other"], 4)
    assert read_table(frame, {"root": str(tmp_path)}).label_names == ["1.0", "2.5", "other"]


@pytest.mark.parametrize("empty", ["", " ", "nan", None, float("nan"), pd.NA])
def test_empty_labels_are_refused_and_their_rows_named(shop: Shop, tmp_path: Path, empty: object) -> None:
    frame = shop().astype(object)
    frame.loc[[3, 7], "label"] = empty
    with pytest.raises(DataError, match='column "label" is empty in 2 rows: 3, 7') as caught:
        read_table(frame, {"root": str(tmp_path)})
    assert caught.value.rows == (3, 7)
    unlabelled = read_table(frame, {"root": str(tmp_path)}, need_label=False)
    assert unlabelled.labels.tolist()[3] == -1
    assert not unlabelled.has_labels


def test_everything_wrong_is_told_at_once(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame.loc[2, "label"] = ""
    frame.loc[5, "image"] = frame.loc[4, "image"]
    config = {"root": str(tmp_path), "attributes": ["colour"], "text": "titel", "id": "number"}
    with pytest.raises(DataError) as caught:
        read_table(frame, config)
    for part in ("2", "same picture", '"colour"', '"titel"', '"number"', "data.attributes=NAME", "data.id=NAME"):
        assert part in str(caught.value)


def test_a_missing_column_suggests_the_nearest(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no column "lable"; did you mean "label"\?.*data.label=NAME'):
        read_table(shop(), {"root": str(tmp_path), "label": "lable"})
    with pytest.raises(DataError, match=r'did you mean "label"'):
        read_table(shop(), {"root": str(tmp_path), "label": "LABEL"}, need_label=False)


def test_labels_may_be_absent_when_nobody_needs_them(shop: Shop, tmp_path: Path) -> None:
    read = read_table(shop().drop(columns="label"), {"root": str(tmp_path)}, need_label=False)
    assert read.labels.tolist() == [-1] * 12
    with pytest.raises(DataError, match="labels are needed"):
        read_table(shop(), {"root": str(tmp_path), "label": None})


def test_the_same_picture_twice_is_refused(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame.loc[11, "image"] = frame.loc[0, "image"]
    with pytest.raises(DataError, match=r'more than once: 1 row: 11 \("pictures/000.png"\)') as caught:
        read_table(frame, {"root": str(tmp_path)})
    assert caught.value.rows == (11,)


def test_ids_come_from_their_column_and_must_be_unique_whole_numbers(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["number"] = [2**60 + row for row in range(12)]
    config = {"root": str(tmp_path), "id": "number"}
    assert read_table(frame, config).ids.tolist() == frame["number"].tolist()
    frame.loc[4, "number"] = frame.loc[5, "number"]
    with pytest.raises(DataError, match='column "number" repeats a number in 1 row: 5'):
        read_table(frame, config)
    frame["number"] = [f"A{row}" for row in range(12)]
    with pytest.raises(DataError, match=r'needs whole numbers >= 0 in 12 rows: 0 \("A0"\).*Leave data.id unset'):
        read_table(frame, config)


def test_attributes_have_the_same_codes_in_every_split_and_empty_is_unknown(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["colour"] = ["red", "blue", "", "red"] * 2 + ["green", "blue", "red", ""]
    config = {"root": str(tmp_path), "attributes": ["colour"]}
    codes, names = read_table(frame, config, split="test").attributes["colour"]
    assert names == ["blue", "green", "red"]
    assert codes.tolist() == [1, 0, 2, -1]


def test_columns_as_oml_names_them_are_understood_without_settings(shop: Shop, tmp_path: Path) -> None:
    frame = shop().rename(columns={"image": "path"})
    frame["split"] = ["train"] * 8 + ["validation"] * 4
    frame["is_query"] = [None] * 8 + [True, False, True, False]
    frame["is_gallery"] = [None] * 8 + [False, True, True, True]
    frame["category"] = "shirt"
    frame[["x_1", "y_1", "x_2", "y_2"]] = [2, 3, 20, 25]
    read = read_table(saved(frame, tmp_path / "oml.csv"), split="validation")
    assert read.query is not None
    assert read.query.tolist() == [True, False, True, False]
    assert read.gallery is not None
    assert read.gallery.tolist() == [False, True, True, True]
    assert read.boxes is not None
    assert read.boxes.tolist() == [[2, 3, 20, 25]] * 4
    assert read.frame["category"].tolist() == ["shirt"] * 4


def test_two_boxes_of_one_picture_are_two_rows(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["image"] = frame["image"].iloc[0]
    frame[["x_1", "y_1", "x_2", "y_2"]] = [[row, 0, row + 5, 5] for row in range(12)]
    assert len(read_table(frame, {"root": str(tmp_path)})) == 12


def test_boxes_without_area_are_refused(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame[["x_1", "y_1", "x_2", "y_2"]] = [2, 3, 20, 25]
    frame.loc[6, "x_2"] = 2
    frame.loc[7, "y_1"] = -1
    with pytest.raises(DataError, match=r"0 <= left < right.*2 rows: 6, 7"):
        read_table(frame, {"root": str(tmp_path)})


def test_flags_that_say_neither_are_refused(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    frame["is_query"] = ["true"] * 11 + ["perhaps"]
    with pytest.raises(DataError, match=r'takes true or false; it says else in 1 row: 11 \("perhaps"\)'):
        read_table(frame, {"root": str(tmp_path)})
    assert flags(["True", "0", "", "YES", "1.0"])[0].tolist() == [True, False, False, True, True]


def test_the_fingerprint_follows_what_is_said_and_not_where_it_lies(shop: Shop, tmp_path: Path) -> None:
    frame = shop()
    first = read_table(saved(frame, tmp_path / "t.csv"))
    shutil.copytree(tmp_path / "pictures", tmp_path / "moved" / "pictures")
    assert read_table(saved(frame, tmp_path / "moved" / "t.csv")).fingerprint == first.fingerprint
    frame.loc[0, "label"] = "style 1"
    assert read_table(frame, {"root": str(tmp_path)}).fingerprint != first.fingerprint
    frame.loc[0, "label"] = "style 0"
    assert read_table(frame, {"root": str(tmp_path)}).fingerprint == first.fingerprint
    picture = Image.open(tmp_path / "pictures/000.png").copy()
    picture.putpixel((3, 3), (1, 2, 3))
    picture.save(tmp_path / "pictures/000.png")
    assert read_table(frame, {"root": str(tmp_path)}).fingerprint != first.fingerprint
    (tmp_path / "pictures/000.png").unlink()
    assert read_table(frame, {"root": str(tmp_path)}).fingerprint != first.fingerprint


def test_take_accepts_a_split_a_mask_and_positions(table: Table) -> None:
    assert table.take("test").rows.tolist() == [8, 9, 10, 11]
    mask = table.labels == 1
    assert table.take(mask).labels.tolist() == [0] * 4
    assert table.take(mask, dense=False).labels.tolist() == [1] * 4
    assert table.take(mask, dense=False).label_names == table.label_names
    assert table.take([11, 0, 11]).rows.tolist() == [11, 0, 11]
    assert table.take(table.take([11, 0]).rows).paths == [table.paths[11], table.paths[0]]
    assert table.take([11, 0]).frame["image"].tolist() == ["pictures/011.png", "pictures/000.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"image,label\n", "has no rows"),
        (b"image,label\na.png,1\nb.png,2,3\n", "cannot be read"),
        (b"image,label\na.png,1,x\nb.png,2,x\n", "more cells than its header"),
        ("image,label\na.png,caf\u00e9\n".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_files_that_are_not_tables_are_refused_in_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.csv")


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*data.table=FILE"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no table was given"):
        read_table("")
    (tmp_path / "t.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "t.parquet")


def test_a_frame_with_two_columns_of_one_name_is_refused(shop: Shop) -> None:
    frame = shop()
    frame.columns = ["image", "label", "label"]
    with pytest.raises(DataError, match="more than one column called label"):
        read_table(frame)


def test_a_typo_in_a_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="lable"):
        DataConfig.model_validate({"lable": "style"})


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_come_back_exactly(numbers: list[int]) -> None:
    values, bad = whole_numbers(exact_text(pd.Series(numbers, dtype="object")))
    assert values.tolist() == numbers
    assert not bad

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from official_folders import FOLDERS, asen, fashion_gen, fashion_iq, in_shop, lookbench, put, sop

from fashreg.data.layouts import LAYOUTS, convert, layout_of, options_for, read_layout
from fashreg.data.layouts.fashion_gen import draw_trials, read_trials
from fashreg.data.official import official_of
from fashreg.data.table import Table, read_table
from fashreg.errors import DataError

NAMES = sorted(FOLDERS)


def official(name: str, tmp_path: Path) -> Path:
    return FOLDERS[name][0](tmp_path / "Official")


def converted(name: str, tmp_path: Path, ending: str = "parquet") -> Path:
    out = tmp_path / f"tables/{name}.{ending}"
    convert(name, official(name, tmp_path), out)
    return out


def test_every_layout_has_a_small_folder_here_or_a_sibling_that_has() -> None:
    siblings = {name for name in LAYOUTS if name.startswith("lookbench-")}
    assert set(LAYOUTS) == {*FOLDERS, *siblings}
    assert all(layout.title and layout.needs and layout.note and layout.source for layout in LAYOUTS.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_table_is_read_without_settings_and_names_its_protocol(name: str, tmp_path: Path) -> None:
    table = read_table(converted(name, tmp_path))
    said = official_of(table.frame, table.source)
    assert said is not None
    assert said.protocol == name
    assert table.protocol_name == (None if name.startswith("fashion-gen") else name)  # pictures by pictures
    assert table.has_labels
    assert all(Path(path).is_file() for path in table.paths)
    assert not any(".." in image or Path(image).is_absolute() for image in table.images)
    assert set(table.splits or ()) >= ({"test"} if name.startswith("lookbench") else {"train"})


@pytest.mark.parametrize("name", ["in-shop", "fashionai", "lookbench-real-studio-flat"])
def test_csv_and_parquet_say_the_same_and_may_move_with_the_pictures(name: str, tmp_path: Path) -> None:
    parquet = converted(name, tmp_path)
    convert(name, tmp_path / "Official", parquet.with_suffix(".csv"))
    first, second = read_table(parquet), read_table(parquet.with_suffix(".csv"))
    assert first.fingerprint == second.fingerprint
    assert second.protocol_name == name
    shutil.move(tmp_path / "tables", tmp_path / "elsewhere/tables")
    shutil.move(tmp_path / "Official", tmp_path / "elsewhere/Official")
    moved = read_table(tmp_path / f"elsewhere/tables/{name}.csv")
    assert moved.fingerprint == first.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    root, absent = official(name, tmp_path), FOLDERS[name][1]
    shutil.rmtree(root / absent) if (root / absent).is_dir() else (root / absent).unlink()
    wanted = re.escape(absent.removeprefix("v20251201/"))
    with pytest.raises(DataError, match=f"not a whole {name} folder.*{wanted}.*missing.*must hold"):
        convert(name, root, tmp_path / "t.csv")
    assert not list(tmp_path.glob("t*"))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("lookbench")])
def test_a_missing_picture_is_counted_and_named(name: str, tmp_path: Path) -> None:
    root = official(name, tmp_path)
    gone = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".jpg", ".png"))[0]
    gone.unlink()
    with pytest.raises(DataError, match=rf": 1 of \d+ pictures are missing, the first: .*{re.escape(gone.name)}"):
        read_layout(name, root)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_wrong_folder_is_refused(name: str, tmp_path: Path) -> None:
    put(tmp_path / "other/notes.txt", ["nothing"])
    with pytest.raises(DataError, match=r"not a whole .* missing"):
        convert(name, tmp_path / "other", tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"is not a folder.*one that holds"):
        convert(name, tmp_path / "nowhere", tmp_path / "t.csv")


def test_in_shop_has_queries_gallery_and_training(tmp_path: Path) -> None:
    frame = read_layout("in-shop", in_shop(tmp_path))
    assert frame["label"].tolist() == ["id_00000002"] * 2 + ["id_00000080"] * 2 + ["id_00000081"]
    assert frame["split"].tolist() == ["train"] * 2 + ["test"] * 3
    assert frame["is_query"].tolist() == [False, False, True, False, False]
    assert frame["is_gallery"].tolist() == [False, False, False, True, True]
    assert frame["category"].tolist() == ["Dresses"] * 2 + ["Denim"] * 3
    assert frame["gender"].tolist() == ["WOMEN"] * 2 + ["MEN"] * 3


def test_in_shop_pictures_may_lie_in_img_and_a_cut_list_is_noticed(tmp_path: Path) -> None:
    in_shop(tmp_path)
    (tmp_path / "Img").mkdir()
    shutil.move(tmp_path / "img", tmp_path / "Img/img")
    assert read_table(read_layout("in-shop", tmp_path)).images[0].startswith("img/WOMEN")
    partition = tmp_path / "Eval/list_eval_partition.txt"
    partition.write_text("\n".join(partition.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match="announces 5 rows and holds 4; it may be cut short"):
        read_layout("in-shop", tmp_path)


def test_sop_is_leave_one_out_with_labels_digit_for_digit(tmp_path: Path) -> None:
    table = read_table(read_layout("sop", sop(tmp_path)), split="test")
    assert table.query is None
    assert table.label_names == ["11319", "11320"]
    assert table.frame["category"].tolist() == ["cabinet"] * 3
    put(tmp_path / "Ebay_test.txt", ["image_id class_id path", "1 2 x.JPG"])
    with pytest.raises(DataError, match="header must be `image_id class_id super_class_id path`"):
        read_layout("sop", tmp_path)


def test_deepfashion2_asks_with_known_garments_of_customers_in_all_garments_of_shops(tmp_path: Path) -> None:
    table = read_table(converted("deepfashion2-consumer-to-shop", tmp_path))
    assert table.query is not None
    assert table.gallery is not None
    assert table.boxes is not None
    labels = [table.label_names[code] for code in table.labels]
    assert labels == ["1-1", "1-1", "7-1", "7-1", "7-2", "000002-item3"]
    assert table.query.tolist() == [False, False, True, False, False, False]
    assert table.gallery.tolist() == [False, False, False, True, True, True]
    assert table.boxes[3:].tolist() == [[3, 2, 9, 8], [4, 4, 5, 9], [0, 0, 3, 3]]  # turned round; without width


def counts_of(table: Table, flag: str) -> Counter[tuple[str, str]]:
    asked = table.query if flag == "query" else table.gallery
    assert asked is not None
    return Counter(
        (name, names[code])
        for name, (codes, names) in table.attributes.items()
        for code, yes in zip(codes, asked, strict=True)
        if yes and code >= 0
    )


def test_asen_keeps_every_triple_of_query_and_candidate(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = convert("darn", asen(tmp_path / "DARN"), path)
    table = read_table(path, {"attributes": ["sleeve length", "colour"]}, split="test")
    long, none = ("sleeve length", "Long"), ("sleeve length", "Invisible")
    assert counts_of(table, "query") == {long: 1, ("colour", "2"): 1, ("colour", "0"): 1}
    assert counts_of(table, "gallery") == {long: 2, none: 1, ("colour", "2"): 2}
    two_colours = [image for image, asks in zip(table.images, table.query, strict=True) if asks]
    assert two_colours == ["pics/test0.jpg", "pics/test1.jpg", "pics/test1.jpg"]
    train = frame[frame["split"] == "train"]
    assert train["colour"].tolist() == ["2", "0", "1", "", "2"]
    assert train["sleeve length"].tolist() == ["Long", "Invisible", "", "Long", ""]
    assert 'attributes=[sleeve length, colour]"' in options_for(layout_of("darn"), frame)


@pytest.mark.parametrize("line", ["0 0", "0 5 1", "9 0 1", "0 1 3", "0 x 1", "0 -1 1"])
def test_asen_refuses_what_goes_beyond_its_lists(tmp_path: Path, line: str) -> None:
    root = asen(tmp_path / "FashionAI")
    put(root / "query_test.txt", ["0 0 1", line])
    with pytest.raises(DataError, match=r"query_test\.txt is not as fashionai has it: line 2"):
        read_layout("fashionai", root)


def test_the_two_galleries_of_fashion_iq_differ_and_their_queries_do_not(tmp_path: Path) -> None:
    root = fashion_iq(tmp_path)
    wide, narrow = (read_layout(f"fashion-iq-{name}", root) for name in ("original", "val"))
    rows = wide[wide["split"] == "validation-shirt"]
    asks = rows[rows["is_query"]]
    assert asks["label"].tolist() == ["B00shirtval1", "B00shirtval2"]
    assert asks["text"].tolist() == ["is  red, has no sleeves", "is longer, is blue"]
    assert asks["image"].tolist() == ["images/B00shirtval0.jpg"] * 2
    assert asks["target"].tolist() == ["images/B00shirtval1.jpg", "images/B00shirtval2.jpg"]
    assert rows[rows["is_gallery"]]["label"].tolist() == [f"B00shirtval{i}" for i in range(4)]
    small = narrow[(narrow["split"] == "validation-shirt") & narrow["is_gallery"]]
    assert small["label"].tolist() == [f"B00shirtval{i}" for i in range(3)]
    assert narrow[narrow["is_query"]].equals(wide[wide["is_query"]].set_axis(narrow[narrow["is_query"]].index))
    put(root / "image_splits/split.dress.val.json", ["B00dressval0", "B00dressval1"])
    with pytest.raises(DataError, match=r"1 targets of dress \(first: B00dressval2\) are not in its"):
        read_layout("fashion-iq-val", root)


def test_fashion_gen_has_a_row_per_picture_with_its_products_text(tmp_path: Path) -> None:
    table = read_table(read_layout("fashion-gen-full", fashion_gen(tmp_path, 3)), {"text": "text"}, split="validation")
    assert table.images == ["val/val_0_0.png", "val/val_1_0.png", "val/val_1_1.png", "val/val_2_0.png"]
    assert table.texts is not None
    assert table.texts[1] == "Coat 1.Wool coat, in grey."
    assert [table.label_names[code] for code in table.labels] == ["5000", "5001", "5001", "5002"]
    with pytest.raises(DataError, match="101 candidates need as many products; the validation set has 3"):
        read_layout("fashion-gen-random-100", tmp_path)


def test_each_of_the_random_101_has_one_right_answer_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    path = converted("fashion-gen-random-100", tmp_path)
    frame = read_table(path).frame
    label, kind = (frame[name].to_numpy(dtype=object) for name in ("label", "sub_category"))
    for direction in ("image-to-text", "text-to-image"):
        for repeat in (1, 5):
            rows, shown = read_trials(frame, direction, repeat)
            assert shown.shape == (104, 101)
            assert len({label[row] for row in rows}) == 104
            assert (label[shown] == label[rows][:, None]).sum(1).tolist() == [1] * 104
            assert (label[shown[:, 0]] == label[rows]).all()
            assert all(len({*label[some]}) == 101 for some in shown)
            kin = (kind[shown] == kind[rows][:, None]).sum(1)
            assert kin[kind[rows] == "9"].tolist() == [100] * 100  # as many as there are
            assert set(kin[kind[rows] != "9"]) == {2}
            assert set(frame["split"].iloc[shown.ravel()]) == {"validation"}
    again = read_layout("fashion-gen-random-100", tmp_path / "Official")
    assert all(again[column].tolist() == frame[column].tolist() for column in again.columns if " " in column)
    other = draw_trials(again, seed=1, repeats=1)
    assert other["text-to-image 1"] != again["text-to-image 1"].tolist()
    assert np.ptp([len(cell.split()) for cell in other["text-to-image 1"] if cell]) == 0
    with pytest.raises(DataError, match='no column "text-to-image 6"'):
        read_trials(again, "text-to-image", 6)


def test_lookbench_unpacks_pictures_and_takes_noise_into_the_gallery(tmp_path: Path) -> None:
    frame = convert("lookbench-real-studio-flat", lookbench(tmp_path / "look"), tmp_path / "t.parquet")
    fine = ["dress | red | floral, midi", "coat | red | floral, midi"]
    assert frame["label"].tolist() == [*fine, fine[0], "coat | red | long", "noise", "noise"]
    assert frame["item"].tolist() == ["a1", "b1", "a1", "b2", "noise", "noise"]
    assert frame["category"].tolist() == ["dress", "coat", "dress", "coat", "noise", "noise"]
    assert frame["is_query"].tolist() == [True] * 2 + [False] * 4
    assert frame["is_gallery"].tolist() == [False] * 2 + [True] * 4
    assert frame["bbox"][0] == "1.0 2.0 9.0 8.0"
    pictures = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg")}
    assert pictures == {f"t-pictures/{image}" for image in frame["image"]}
    with pytest.raises(DataError, match="say where to unpack them: pictures=FOLDER"):
        read_layout("lookbench-real-studio-flat", tmp_path / "look")


def test_damaged_json_and_paths_that_lead_outside_are_refused(tmp_path: Path) -> None:
    root = sop(tmp_path / "sop")
    put(root / "Ebay_test.txt", ["image_id class_id super_class_id path", "1 2 3 ../secret.JPG"])
    with pytest.raises(DataError, match=r"the picture \.\./secret\.JPG, which lies outside"):
        read_layout("sop", root)
    (fashion_iq(tmp_path / "iq") / "captions/cap.dress.val.json").write_text("[{")
    with pytest.raises(DataError, match=r"cap\.dress\.val\.json cannot be read"):
        read_layout("fashion-iq-val", tmp_path / "iq")
    put(tmp_path / "iq/captions/cap.dress.val.json", [{"candidate": "B00dressval0", "captions": []}])
    with pytest.raises(DataError, match='entry 0 has no "target" of the right type'):
        read_layout("fashion-iq-val", tmp_path / "iq")


def test_an_unknown_name_an_unknown_ending_and_an_existing_file_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='no layout "inshop"; did you mean "in-shop"'):
        convert("inshop", tmp_path, tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"written as \.parquet, \.csv or \.tsv"):
        convert("sop", tmp_path, tmp_path / "t.xlsx")
    put(tmp_path / "t.csv", ["image", "mine.png"])
    with pytest.raises(DataError, match="exists already; remove it"):
        convert("sop", sop(tmp_path / "sop"), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "image\nmine.png\n"


def test_what_stands_beside_a_csv_file_is_read_strictly(tmp_path: Path) -> None:
    path = converted("sop", tmp_path, "csv")
    beside = path.with_name("sop.csv.fashreg.json")
    good = beside.read_text()
    for bad in ("{", "[]", '{"fashreg": {"protocol": 3}}', '{"fashreg": {"protocol": "sop", "code": "x"}}', "1" * 5000):
        beside.write_text(bad)
        with pytest.raises(DataError, match=r"sop\.csv"):
            read_table(path)
    beside.write_text(good)
    assert read_table(path).protocol_name == "sop"


def test_a_frame_read_by_pandas_asks_for_the_folder_of_its_pictures(tmp_path: Path) -> None:
    path = converted("sop", tmp_path)
    frame = pd.read_parquet(path)
    with pytest.raises(DataError, match=r'read_table\(frame, \{"root": FOLDER\}\)'):
        read_table(frame)
    table = read_table(frame, {"root": str(tmp_path / "Official")})
    assert table.protocol_name == "sop"
    assert table.take("test").protocol_name == "sop"
    assert table.fingerprint == read_table(path).fingerprint


def test_an_ordinary_table_has_no_protocol_of_its_own(table: Table) -> None:
    assert table.protocol_name is None

"""`fashreg data layouts` and `fashreg data convert`."""

from __future__ import annotations

import json
from pathlib import Path

from official_folders import asen, fashion_gen, in_shop

from fashreg.data.table import read_table


def test_layouts_are_listed_for_people_and_as_json(fashreg) -> None:
    assert "Eval/list_eval_partition.txt" in fashreg("data", "layouts").out
    listed = json.loads(fashreg("data", "layouts", "--json").out)
    assert {"in-shop", "sop", "fashion-iq-val", "lookbench-real-studio-flat"} <= {row["name"] for row in listed}


def test_a_benchmark_becomes_a_table_with_counts_and_the_next_command(fashreg, tmp_path: Path) -> None:
    out = tmp_path / "shop.parquet"
    done = fashreg("data", "convert", "in-shop", in_shop(tmp_path / "root"), "--out", out)
    assert done.status == 0
    assert "5 rows (2 train, 3 test)" in done.out
    assert "1 rows ask, 2 are searched" in done.out
    assert f"fashreg evaluate MODEL --table {out} --split test" in done.out
    assert read_table(out).protocol_name == "in-shop"


def test_attributes_stand_in_the_next_command(fashreg, tmp_path: Path) -> None:
    done = fashreg("data", "convert", "fashionai", asen(tmp_path / "FashionAI"), "--out", tmp_path / "t.csv")
    assert '--set "attributes=[sleeve length, colour]"' in done.out


def test_a_partial_folder_is_one_clear_line(fashreg, tmp_path: Path) -> None:
    (in_shop(tmp_path / "root") / "Eval/list_eval_partition.txt").unlink()
    done = fashreg("data", "convert", "in-shop", tmp_path / "root", "--out", tmp_path / "t.csv")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "Eval/list_eval_partition.txt" in done.err
    assert not (tmp_path / "t.csv").exists()


def test_a_protocol_between_pictures_and_texts_is_offered_with_its_evaluator(fashreg, tmp_path: Path) -> None:
    done = fashreg(
        "data", "convert", "fashion-gen-full", fashion_gen(tmp_path / "root", 3), "--out", tmp_path / "t.csv"
    )
    assert "--split validation --set text=text --evaluator cross-modal" in done.out

"""Pictures that come to the indexes of several tasks at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from index_shop import N, picture, state
from torch import Tensor

from fashreg.cli import run as command
from fashreg.encoder import Encoder
from fashreg.errors import DataError, ModelError
from fashreg.jobs.index_changes import add_to_index, delete_from_index, update_index
from fashreg.jobs.index_several import add_to_indexes, delete_from_indexes, update_indexes
from fashreg.jobs.indexing import build_indexes, load_index
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder_of_tasks

TASKS = ("category", "season")
ALL: dict[str, Any] = {"progress": False}


@pytest.fixture(scope="module")
def built(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two tasks, and an index of each in OUT/TASK."""
    root = tmp_path_factory.mktemp("several")
    save_encoder(tiny_encoder_of_tasks(*TASKS), root / "model")
    build_indexes(root / "model", shop / "table.csv", root / "out", **ALL)
    return root


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built / "out", tmp_path / "out"))


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures went through the trunk, batch by batch."""
    seen: list[int] = []
    steps = Encoder.steps

    def spied(self: Encoder, x: Tensor, *cut: Any) -> Tensor:
        seen.append(len(x))
        return steps(self, x, *cut)

    monkeypatch.setattr(Encoder, "steps", spied)
    return seen


def same_as_one_by_one(change: Any, out: Path, apart: Path, table: Path) -> None:
    for task in TASKS:
        change(apart / task, table, **ALL)
        assert state(out / task) == state(apart / task)


def test_one_pass_adds_what_a_pass_for_each_index_would(
    shop: Path, built: Path, out: Path, tmp_path: Path, passed: list[int]
) -> None:
    changes = {name: str(change) for name, change in add_to_indexes(out, shop / "more.csv", **ALL).items()}
    assert changes == dict.fromkeys(TASKS, f"5 pictures added; the index holds {N + 5}")
    assert passed == [5]
    same_as_one_by_one(add_to_index, out, Path(shutil.copytree(built / "out", tmp_path / "apart")), shop / "more.csv")


def test_one_pass_replaces_what_a_pass_for_each_index_would(
    shop: Path, built: Path, out: Path, tmp_path: Path, passed: list[int]
) -> None:
    rows = pd.read_csv(shop / "table.csv", dtype=str).iloc[:3]
    table = tmp_path / "changed.csv"
    rows.assign(image=[str(shop / name) for name in rows["image"]]).to_csv(table, index=False)
    apart = Path(shutil.copytree(built / "out", tmp_path / "apart"))
    kept = (shop / "1.png").read_bytes()
    try:
        picture(shop / "1.png", 900)
        assert [change.total for change in update_indexes(out, table, **ALL).values()] == [N, N]
        assert passed == [3]
        same_as_one_by_one(update_index, out, apart, table)
    finally:
        (shop / "1.png").write_bytes(kept)
    assert state(out / "season") != state(built / "out" / "season")


def test_nothing_is_written_anywhere_where_one_of_the_indexes_cannot_take_the_pictures(
    shop: Path, out: Path, passed: list[int]
) -> None:
    add_to_index(out / "season", shop / "more.csv", **ALL)  # the last of them has them already
    before = {task: state(out / task) for task in TASKS}
    passed.clear()
    with pytest.raises(DataError, match=r"season already: 5 rows"):
        add_to_indexes(out, shop / "more.csv", **ALL)
    assert (passed, {task: state(out / task) for task in TASKS}) == ([], before)


def test_an_index_of_another_model_is_refused_by_name(shop: Path, out: Path) -> None:
    other = tiny_encoder_of_tasks("category", "season", seed=1)
    shutil.rmtree(out / "season")
    build_indexes(other, shop / "table.csv", out, tasks=["season"], **ALL)
    with pytest.raises(ModelError, match=r"season was built with another model"):
        add_to_indexes(out, shop / "more.csv", **ALL)
    assert len(load_index(out / "category")) == N


def test_a_folder_without_indexes_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no index folders: fashreg index build MODEL --every-task"):
        add_to_indexes(tmp_path, shop / "more.csv", **ALL)


def test_the_command_takes_a_folder_of_indexes(shop: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["index", "add", str(out), "--table", str(shop / "more.csv")]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line] == [
        f"{task}: 5 pictures added; the index holds {N + 5}" for task in TASKS
    ]
    assert command(["index", "update", str(out / "season"), "--table", str(shop / "table.csv")]) == 0
    assert "24 pictures updated" in capsys.readouterr().out
    assert command(["index", "delete", str(out), "--id", "3", "--image", str(shop / "5.png")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{task}: 2 pictures deleted; the index holds {N + 3}" for task in TASKS
    ]
    for task in TASKS:
        assert {3, 5}.isdisjoint(load_index(out / task).items["id"])


def test_pictures_are_deleted_from_every_index_or_from_none(shop: Path, out: Path) -> None:
    delete_from_index(out / "season", ids=[3])
    before = {task: state(out / task) for task in TASKS}
    with pytest.raises(DataError, match="no picture of the index has the id 3"):
        delete_from_indexes(out, ids=[3])
    assert {task: state(out / task) for task in TASKS} == before
    left = delete_from_indexes(out, where="label=a", ids=[1])
    assert [change.total for change in left.values()] == [N // 2 - 1, N // 2 - 2]


def test_one_change_for_a_folder_of_several_says_to_name_one(out: Path) -> None:
    with pytest.raises(ModelError, match=r"holds 2 indexes, and one is to be changed: name it, e\.g\. .*category"):
        delete_from_index(out, ids=[3])

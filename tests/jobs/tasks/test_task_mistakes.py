"""A recipe with tasks that has a mistake in it: what is told, and before what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from task_shop import ENTRY_POINTS, task_recipe, task_shop

from fashreg.config import read_recipe
from fashreg.errors import DataError, FashregError, RecipeError
from fashreg.jobs.task_tables import read_task_tables
from fashreg.jobs.training import Plan, check
from fashreg.testing.tiny_texts import TinyTextBackbone

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "toys")
FOUR = ("cross-modal", "find", "classification", "captioning")


@pytest.fixture
def toys(fake_plugin: Any) -> None:
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return task_shop(tmp_path_factory.mktemp("shop"))


def planned(table: Path, **changes: Any) -> Plan:
    return check(task_recipe(table, **changes))


def edited(table: Path, folder: Path, change: Any) -> Path:
    """The shop in another folder, with its table changed."""
    file = task_shop(folder)
    change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False)
    return file


def test_rows_without_a_class_are_left_out_in_training_and_measuring_and_that_is_told(
    table: Path, tmp_path: Path
) -> None:
    def emptied(frame: pd.DataFrame) -> pd.DataFrame:
        for split, number in (("train", 2), ("test", 1)):
            frame.loc[frame.index[frame["split"] == split][:number], "colour"] = ""
        return frame

    tasks = read_task_tables(read_recipe(task_recipe(edited(table, tmp_path / "shop", emptied))))
    task = tasks["classification"]
    assert [len(task.train), len(task.test or ())] == [22, 7]
    assert task.train.label_names == ["blue", "green", "red", "white"]
    told = " ".join(task.warnings)
    assert '2 of 24 training rows have no label (column "colour") and are not learned from' in told
    assert 'split "test": 1 row without a class, left out' in told
    assert "single picture" not in told
    assert len(tasks["captioning"].train) == 24


def test_rows_that_are_only_searched_are_not_told_as_rows_without_a_text(table: Path, tmp_path: Path) -> None:
    def searched(frame: pd.DataFrame, flag: str) -> pd.DataFrame:
        rows = frame.index[frame["split"] == "train"][:2]
        frame["is_query"], frame["is_gallery"] = "true", "true"
        frame.loc[rows, ["is_query", "caption"]] = flag, ""
        return frame

    for flag, told in (("true", True), ("false", False)):
        file = edited(table, tmp_path / flag, lambda frame, flag=flag: searched(frame, flag))
        task = read_task_tables(read_recipe(task_recipe(file)))["captioning"]
        assert len(task.train) == 22
        assert any("2 of 24 training rows have no text" in said for said in task.warnings) == told


def test_a_mistake_in_a_tasks_table_names_the_task_and_the_field_to_set(table: Path, tmp_path: Path) -> None:
    def mistake(tasks: dict[str, Any], **changes: Any) -> str:
        with pytest.raises(DataError) as caught:
            planned(table, tasks=tasks, **changes)
        return str(caught.value)

    wishes = {"kind": "composed", "data": {"table": "wishes.csv", "text": "wish", "target": "wnted"}}
    assert "task 'find': " in (said := mistake({"find": wishes}))
    assert 'did you mean "wanted"?' in said
    assert "Choose one with tasks.find.data.target=NAME" in said
    said = mistake({"find": {"kind": "composed", "data": {"table": "wshes.csv", "text": "wish", "target": "wanted"}}})
    assert said.endswith("tasks.find.data.table=FILE")
    labels = {"classification": {"data": {"label": "colr"}}}
    assert "tasks.classification.data.label=NAME" in mistake(labels)
    common = mistake({}, data={"table": str(table), "text": "captoin"})
    assert "task 'cross-modal': " in common
    assert "Choose one with data.text=NAME" in common  # where it was written


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone": {"name": "timm", "model": "test_efficientnet", "weights": None}}, "'cross-modal'.*encode_text"),
        ({"head": "projection"}, "'classification' .classification.: head ProjectionHead .*classify.*tasks.classifica"),
        (
            {"tasks": {"captioning": {"evaluator": "classification"}}},
            "'captioning' .* judges classes: leave tasks.c",
        ),
        ({"tasks": {"find": {"kind": "captioning", "evaluator": "retrieval"}}}, "judges pictures"),
        (
            {"sampler": "class-balanced", "tasks": {"find": None}, "data": {"label": None}},
            "'cross-modal': sampler",
        ),
        ({"trainer": {"batch_size": 20}}, r"task 'find': sampler .*batch_size 20 .*tasks\.find\.sampler"),
    ],
)
def test_parts_that_do_not_fit_a_task_are_refused_before_anything_is_measured(
    table: Path, changes: dict[str, Any], says: str
) -> None:
    changes = {**changes}
    if "data" in changes:
        changes["data"] = {"table": str(table), "text": "caption", "workers": 0, **changes["data"]}
    with pytest.raises(FashregError, match=says):
        planned(table, **changes)


def test_texts_that_the_backbone_cuts_are_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTextBackbone, "context_length", 4, raising=False)
    monkeypatch.setattr(
        TinyTextBackbone, "cut_texts", lambda self, texts: sum(len(t.split()) > 3 for t in texts), raising=False
    )
    said = planned(table).describe()
    assert "note: task captioning: 24 of 24 training texts are longer than the 4 tokens that are read" in said
    assert "task find:" not in said.partition("note:")[2]
    monkeypatch.setattr(TinyTextBackbone, "cut_texts", lambda self, texts: 0)
    assert "tokens" not in planned(table).describe()


def test_a_task_of_a_recipe_is_left_out_by_null(table: Path) -> None:
    read = read_recipe(task_recipe(table), ["tasks.find=null", "tasks.captioning=null"])
    assert list(read.tasks or {}) == ["cross-modal", "classification"]
    with pytest.raises(RecipeError, match="tasks names none"):
        read_recipe(task_recipe(table), [f"tasks.{name}=null" for name in FOUR])

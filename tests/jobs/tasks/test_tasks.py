"""A recipe with several tasks: read, dealt, and what is refused before it begins."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from task_shop import task_recipe, task_shop
from task_training import FOUR

from fashreg.config import read_recipe
from fashreg.errors import DataError, RecipeError
from fashreg.jobs.task_tables import read_task_tables
from fashreg.jobs.training import Plan, check
from fashreg.testing.tiny_tasks import TinyTaskLearner
from fashreg.training.processes import Processes
from fashreg.values import TrainingBatch

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "toys")


def planned(table: Path, **changes: Any) -> Plan:
    return check(task_recipe(table, **changes))


def edited(table: Path, folder: Path, name: str, change: Any) -> Path:
    """The shop in another folder, with one of its tables changed."""
    task_shop(folder)
    frame = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
    change(frame).to_csv(folder / name, index=False)
    return folder / "table.csv"


# ---- what is read ----


def test_every_task_reads_its_own_columns_and_tables(table: Path) -> None:
    tasks = read_task_tables(read_recipe(task_recipe(table)))
    assert {name: task.kind for name, task in tasks.items()} == FOUR
    assert tasks["find"].train.targets is not None
    assert tasks["find"].train.texts == ["in green", "in blue", "in white", "in red"] * 3
    assert tasks["classification"].train.label_names == ["blue", "green", "red", "white"]
    assert [len(task.train) for task in tasks.values()] == [24, 12, 24, 24]
    assert [len(task.test or ()) for task in tasks.values()] == [8, 4, 8, 8]


def test_tables_that_are_read_alike_are_one_table(table: Path) -> None:
    tasks = read_task_tables(read_recipe(task_recipe(table)))
    assert tasks["cross-modal"].train is tasks["captioning"].train
    assert tasks["cross-modal"].train is not tasks["classification"].train


def test_rows_without_a_text_or_a_target_are_not_learned_from_and_that_is_told(table: Path, tmp_path: Path) -> None:
    def without(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[[0, 1, 17], "wish"] = ""
        frame.loc[[1, 2], "wanted"] = ""
        return frame

    there = edited(table, tmp_path / "shop", "wishes.csv", without)
    task = read_task_tables(read_recipe(task_recipe(there)))["find"]
    assert len(task.train) == 9
    assert len(task.test or ()) == 4
    assert [text.partition(" training")[0] for text in task.warnings[-2:]] == [
        "task find: 2 of 12",
        "task find: 2 of 12",
    ]


def test_a_task_that_finds_no_text_at_all_is_refused(table: Path, tmp_path: Path) -> None:
    there = edited(table, tmp_path / "shop", "wishes.csv", lambda frame: frame.assign(wish=""))
    with pytest.raises(DataError, match=r"task 'find': .* composed has nothing to learn from: 12 of 12 training rows"):
        planned(there)


def test_classes_that_training_lacks_are_left_out_of_what_is_measured_and_codes_agree(
    table: Path, tmp_path: Path
) -> None:
    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        last = frame["split"] == "test"
        frame.loc[last & (frame["colour"] == "blue"), "colour"] = "azure"
        return frame

    tasks = read_task_tables(read_recipe(task_recipe(edited(table, tmp_path / "shop", "table.csv", renamed))))
    task = tasks["classification"]
    assert task.test is not None
    assert task.test.label_names == task.train.label_names == ["blue", "green", "red", "white"]
    assert {task.test.label_names[code] for code in task.test.labels} == {"green", "red", "white"}
    assert any('2 rows of classes that training lacks, left out: "azure"' in text for text in task.warnings)


def test_without_a_validation_split_each_task_holds_rows_or_classes_out(table: Path, tmp_path: Path) -> None:
    there = edited(table, tmp_path / "shop", "table.csv", lambda f: f.assign(split="train"))
    recipe = task_recipe(there, tasks={"find": None})
    recipe["data"]["holdout"] = 0.25
    tasks = read_task_tables(read_recipe(recipe))
    words, classes = tasks["cross-modal"], tasks["classification"]
    assert words.validation is not None
    assert not {*words.train.label_names} & {*words.validation.label_names}
    assert classes.validation is not None
    assert classes.validation.label_names == classes.train.label_names
    assert len(classes.validation) == 8


def test_a_frame_in_place_of_the_table_is_read_by_tasks_without_one_of_their_own(table: Path) -> None:
    frame = pd.read_csv(table, dtype=str)
    recipe = read_recipe(task_recipe(table, data={"root": str(table.parent), "text": "caption"}, tasks={"find": None}))
    assert len(read_task_tables(recipe, frame)["captioning"].train) == 24


# ---- what is dealt ----


def batches_of(plan: Plan) -> list[TrainingBatch]:
    session = plan.parts.session(plan.recipe, {}, None, quiet=True)
    source = session.source(plan.tables.experiences[0], None, Processes())  # type: ignore[arg-type]
    source.sampler.set_epoch(0)
    return list(source.batches(0))


def test_batches_hold_what_their_task_needs_and_no_more(table: Path) -> None:
    plan = planned(table, tasks={"captioning": {"batch_size": 6}})
    batches = batches_of(plan)
    assert plan.parts.batches == len(batches) == 6 + 3 + 6 + 4
    assert Counter(batch.task for batch in batches) == {
        "cross-modal": 6,
        "find": 3,
        "classification": 6,
        "captioning": 4,
    }
    for batch in batches:
        assert len(batch) == (6 if batch.task == "captioning" else 4)
        assert (batch.targets is not None) == (batch.task == "find")
        assert batch.texts is not None


def test_the_learner_may_order_the_turns(table: Path) -> None:
    plan = planned(table, learner={"name": "tiny-tasks", "in_turn": True})
    batches = batches_of(plan)
    assert plan.parts.batches == len(batches) == 24
    assert [batch.task for batch in batches[:8]] == sorted(FOUR) * 2


def test_a_task_may_have_a_sampler_of_its_own(table: Path) -> None:
    own = {"sampler": {"name": "class-balanced", "images_per_class": 2}}
    plan = planned(table, tasks={"classification": own})
    labels = [batch.labels for batch in batches_of(plan) if batch.task == "classification"]
    assert all(sorted(Counter(found.tolist()).values()) == [2, 2] for found in labels)


# ---- what components are told ----


def test_backbone_and_head_are_told_kinds_classes_and_the_backbones_numbers(table: Path) -> None:
    encoder = planned(table).parts.encoder
    assert encoder.backbone.kinds == FOUR
    assert encoder.head.classes == {"classification": ["blue", "green", "red", "white"]}
    assert encoder.head.vocabulary == encoder.backbone.vocabulary


# ---- what is refused ----


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learner": "standard"}, "does not learn several tasks at once: --set learner=multi-task"),
        ({"loss": "infonce"}, "has a loss of its own: leave loss out, or --set loss=null"),
        ({"memory": "xbm"}, "which uses no memory: --set memory=null"),
        ({"evaluators": ["attribute-retrieval"]}, "leave evaluators out, and set tasks.NAME.evaluator"),
        ({"rerankers": ["query-expansion"]}, "measured without re-ranking"),
        (
            {"tasks": {"find": {"kind": "composed"}}},
            "'find' (composed) needs the picture that each picture and its text",
        ),
        ({"tasks": {"captioning": {"data": {"text": None}}}}, "--set tasks.captioning.data.text=COLUMN"),
        ({"tasks": {"classification": {"data": {"label": "split"}}}}, "2 or more classes are needed"),
        ({"tasks": {"captioning": {"evaluator": "retrievel"}}}, "retrieval"),
    ],
)
def test_what_does_not_go_together_is_told_with_what_to_type(table: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((RecipeError, DataError, LookupError)) as told:
        planned(table, **changes)
    assert said in str(told.value)


def test_features_cannot_be_cached_where_the_trunk_depends_on_the_task(table: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set trainer\.cache=none"):
        planned(table, trainer={"epochs": 2, "batch_size": 4, "cache": "features", "freeze": "backbone"})


def test_a_kind_that_the_learner_does_not_learn_is_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTaskLearner, "tasks_of_kinds", frozenset({"composed", "captioning"}))
    with pytest.raises(RecipeError, match=r"tasks\.cross-modal is of kind cross-modal, and learner"):
        planned(table)


def test_what_a_learner_needs_of_a_kind_is_asked_of_each_task(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTaskLearner, "needs_of_kind", lambda self, kind: frozenset({"texts"}))
    with pytest.raises(RecipeError, match="needs texts for task 'classification'"):
        planned(table, tasks={"classification": {"data": {"label": "colour", "text": None}}})


def test_a_learner_of_tasks_says_so_when_there_are_none(table: Path) -> None:
    recipe = task_recipe(table)
    with pytest.raises(RecipeError, match="learns the recipe's tasks, and there are none"):
        check({name: value for name, value in recipe.items() if name != "tasks"})


def test_a_loss_left_out_is_needed_by_other_learners(table: Path) -> None:
    with pytest.raises(RecipeError, match="learner 'standard' needs a loss"):
        check({"data": {"table": str(table)}, "backbone": "tiny-text", "head": "tiny-text", "loss": None})


def test_a_relative_table_is_found_beside_the_recipes_table_and_else_in_the_working_folder(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = task_shop(tmp_path / "shop")
    (there.parent / "wishes.csv").rename(tmp_path / "moved.csv")
    recipe = task_recipe(
        there,
        tasks={
            "find": {
                "kind": "composed",
                "data": {"table": "moved.csv", "root": str(there.parent), "text": "wish", "target": "wanted"},
            }
        },
    )
    monkeypatch.chdir(tmp_path)
    assert len(read_task_tables(read_recipe(recipe))["find"].train) == 12
    monkeypatch.chdir(table.parent)
    with pytest.raises(DataError, match="does not exist"):
        read_task_tables(read_recipe(recipe))


def test_the_edits_of_the_drawn_set_have_a_name_that_holds_on_every_machine() -> None:
    drawn = "atelier:products=14,views=2,seed=0,size=48"
    edits = {"table": "edits.csv", "image": "source_image", "target": "target_image", "label": "target", "text": "text"}
    recipe = {
        "data": {"table": drawn},
        "backbone": "tiny-text",
        "learner": "tiny-tasks",
        "tasks": {"composed": {"data": edits}},
    }
    task = read_task_tables(read_recipe(recipe))["composed"]
    assert task.data.table == "atelier-edits:products=14,views=2,seed=0,size=48"
    assert all(Path(target).is_file() for target in task.train.targets or [""])

"""The section `tasks` of a recipe: what it takes, what it refuses, and how a task's data lies over the recipe's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fashreg.assembly import components_of
from fashreg.config import Recipe, parse_recipe, read_recipe
from fashreg.config_tasks import KINDS_OF_TASK, data_of, kinds_of
from fashreg.errors import RecipeError

DATA = {"table": "shop.csv", "root": "pictures", "text": "title"}
TASKS = {"composed": {"data": {"table": "wishes.csv", "target": "wanted"}}, "words": {"kind": "captioning"}}


def recipe(overrides: tuple[str, ...] = (), **changes: Any) -> Recipe:
    return read_recipe({"data": DATA, "backbone": "timm", "tasks": TASKS, **changes}, overrides)


def test_a_name_that_is_a_kind_has_that_kind_and_another_name_says_it() -> None:
    assert kinds_of(recipe().tasks) == {"composed": "composed", "words": "captioning"}
    assert kinds_of({}) == kinds_of(None) == {}


@pytest.mark.parametrize("kind", KINDS_OF_TASK)
def test_every_kind_is_known_by_its_name(kind: str) -> None:
    assert kinds_of(recipe(tasks={kind: {}}).tasks) == {kind: kind}


def test_a_task_lays_its_own_fields_over_the_data_section() -> None:
    made = recipe()
    assert made.tasks is not None
    wishes, words = (data_of(made.data, task) for task in made.tasks.values())
    assert (wishes.table, wishes.target, wishes.text, wishes.root) == ("wishes.csv", "wanted", "title", None)
    assert (words.table, words.root, words.target) == ("shop.csv", "pictures", None)


def test_single_fields_of_a_task_are_overridden_on_the_command_line() -> None:
    made = recipe(("tasks.composed.data.table=b.csv", "tasks.words.batch_size=8", "tasks.words.evaluator=retrieval"))
    assert made.tasks is not None
    assert data_of(made.data, made.tasks["composed"]).table == "b.csv"
    assert data_of(made.data, made.tasks["composed"]).target == "wanted"
    assert (made.tasks["words"].batch_size, made.tasks["words"].evaluator) == (8, read_component("retrieval"))


def read_component(name: str) -> Any:
    return read_recipe({"data": DATA, "backbone": "timm", "evaluators": [name]}).evaluators[0]


def test_a_recipe_with_tasks_is_equal_after_writing_and_reading() -> None:
    made = recipe(("tasks.composed.data.augment={name: street}",))
    again = Recipe.model_validate(parse_recipe(made.to_yaml(), name="again"))
    assert again == made
    assert again.tasks is not None
    assert made.tasks is not None
    assert data_of(again.data, again.tasks["composed"]) == data_of(made.data, made.tasks["composed"])
    assert read_recipe(made) == made


def test_tables_of_tasks_are_found_beside_the_recipe_file(tmp_path: Path) -> None:
    for name in ("shop.csv", "wishes.csv"):
        (tmp_path / name).touch()
    (tmp_path / "recipe.yaml").write_text(recipe(data={"table": "shop.csv"}).to_yaml())
    read = read_recipe(tmp_path / "recipe.yaml")
    assert read.tasks is not None
    assert read.tasks["composed"].data.table == str(tmp_path / "wishes.csv")


def test_components_of_tasks_are_components_of_the_recipe() -> None:
    made = recipe(tasks={"composed": {"sampler": "random", "evaluator": {"name": "retrieval"}}, "captioning": {}})
    found = [(field, kind, item.name) for field, kind, item in components_of(made)]
    assert ("tasks.composed.sampler", "sampler", "random") in found
    assert ("tasks.composed.evaluator", "evaluator", "retrieval") in found


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"wishes": {}}, "has no kind, and its name is none: give one of cross-modal, composed, classification"),
        ({"wishes": {"kind": "composd"}}, "tasks.wishes.kind"),
        ({"composed": {"data": {"tabel": "x"}}}, "tasks.composed.data.tabel: no such field; did you mean 'table'?"),
        ({"composed": {"dta": {}}}, "tasks.composed.dta: no such field; did you mean 'data'?"),
        ({"composed": {"data": {"test_split": "train"}}}, "must differ"),
        ({"composed": {"batch_size": 0}}, "tasks.composed.batch_size"),
        ({"a/b": {"kind": "composed"}}, "letters, digits, - and _ only"),
        ({}, "tasks names none"),
    ],
)
def test_a_wrong_section_is_refused_and_the_place_is_named(tasks: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as told:
        recipe(tasks=tasks)
    assert said in str(told.value)


def test_a_clash_between_the_data_section_and_a_task_is_told() -> None:
    with pytest.raises(
        RecipeError, match=r"tasks\.words\.data: train_split, validation_split and test_split must differ"
    ):
        recipe(
            data={**DATA, "test_split": "final"},
            tasks={"words": {"kind": "captioning", "data": {"train_split": "final"}}},
        )


def test_tasks_and_a_stream_exclude_one_another() -> None:
    with pytest.raises(RecipeError, match="learned together and a stream in turn"):
        recipe(stream={})


def test_an_override_of_one_field_leaves_open_what_nobody_named() -> None:
    assert "loss" not in recipe(("trainer.epochs=3",)).model_fields_set
    changed = recipe(("loss.alpha=3.0",))
    assert changed.loss is not None
    assert changed.loss.options == {"alpha": 3.0}

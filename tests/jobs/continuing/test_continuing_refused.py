"""Learning on: what is refused, and what to type."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from learning_on import RECIPE

from fashreg.errors import ModelError, OptionError, RecipeError
from fashreg.hub.origin import Origin, write_origin
from fashreg.jobs.continuing import ContinuedRun, continue_training, plan_continuing
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder, tiny_encoder_of_tasks

# ---- what is refused, and what to type ----


def test_a_name_that_is_known_is_not_learned_again(first: Path, table: Path) -> None:
    with pytest.raises(RecipeError, match=r"knows 'colour' already \(it knows category, colour\).*evaluate MODEL"):
        plan_continuing(first, add=["pattern", "colour"], table=table)


@pytest.mark.parametrize(
    ("add", "said"),
    [((), "--add-attribute NAME"), ("", "--add-attribute NAME"), (["fit", "fit"], "fit is named twice"),
     ("patern", "the table has no such column; did you mean 'pattern'")],
)  # fmt: skip
def test_names_that_cannot_be_added_are_told(first: Path, table: Path, add: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        plan_continuing(first, add=add, table=table)


def test_a_head_for_everything_cannot_take_an_attribute(table: Path, tmp_path: Path) -> None:
    save_encoder(tiny_encoder(), tmp_path / "model", recipe=RECIPE)
    with pytest.raises(ModelError, match=r"one head for everything, 'projection'.*name: multi-task, tasks: \[\]"):
        plan_continuing(tmp_path / "model", add="pattern", table=table)


def test_a_model_without_its_recipe_says_how_to_give_one(table: Path, tmp_path: Path) -> None:
    save_encoder(tiny_encoder_of_tasks("colour"), tmp_path / "model")
    with pytest.raises(RecipeError, match=r"keeps no recipe.*--recipe FILE, or --recipe NAME"):
        plan_continuing(tmp_path / "model", add="pattern", table=table)
    plan = plan_continuing(tmp_path / "model", add="pattern", table=table, recipe=RECIPE)
    assert plan.recipe.data.attributes == ["pattern", "colour"]


def test_a_recipe_that_cannot_be_read_is_told_with_its_model(table: Path, tmp_path: Path) -> None:
    save_encoder(tiny_encoder_of_tasks("colour"), tmp_path / "model", recipe={**RECIPE, "los": "x"})
    with pytest.raises(
        RecipeError, match=r"the recipe that .*model keeps cannot be used.*did you mean 'loss'.*--recipe"
    ):
        plan_continuing(tmp_path / "model", add="pattern", table=table)


@pytest.mark.parametrize(
    ("override", "said"),
    [("backbone.model=x", "the encoder is the one"), ("head=projection", "the head is the one"),
     ("data.table=x.csv", "given by --table"), ("stream.order=[a]", "given by --add-attribute"),
     ("stream.by=value", "an attribute is added")],
)  # fmt: skip
def test_what_is_given_already_cannot_be_set(first: Path, table: Path, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        plan_continuing(first, add="pattern", table=table, overrides=[override])


def test_other_fields_can_be_set(first: Path, table: Path) -> None:
    plan = plan_continuing(first, add="pattern", table=table, overrides=["trainer.lr=0.5", "data.attributes=[pattern]"])
    assert plan.recipe.trainer.lr == 0.5
    assert plan.recipe.data.attributes == ["pattern"]
    assert "experience pattern:" in plan.describe()


def test_a_run_that_is_not_finished_is_not_learned_on_from(first: Path, table: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(first, run)
    content = json.loads((run / "stream.json").read_text())
    for field in ("map", "recall@1", "cost"):
        content[field] = content[field][:1]
    (run / "stream.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"not finished \(1 of 2 increments are done\).*--resume.*as a model alone"):
        plan_continuing(run, add="pattern", table=table)
    assert plan_continuing(run / "model", add="pattern", table=table).recipe.stream is not None


@pytest.mark.parametrize(("name", "said"), [("nothing", "no run or model folder"), ("empty", "holds no model")])
def test_a_folder_without_a_model_is_told(table: Path, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=said):
        plan_continuing(tmp_path / name, add="pattern", table=table)


def test_a_learner_that_moves_what_was_to_stay_is_found_out(
    first: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashreg.learners.standard import StandardLearner

    def moves(self: StandardLearner, experience: Any) -> None:
        with torch.no_grad():
            next(self.session.encoder.backbone.parameters()).mul_(1.001)

    monkeypatch.setattr(StandardLearner, "before", moves)
    with pytest.raises(
        ModelError, match="category, colour changed although the encoder was to stay: learner 'standard'"
    ):
        continue_training(first, add="pattern", table=table, quiet=True)


def test_the_freeze_of_before_comes_back_when_the_encoder_learns_on(
    shop: Path, second: ContinuedRun, table: Path
) -> None:
    kept, released = (
        plan_continuing(shop / "second", add="fit", table=table, train_encoder=learns).recipe
        for learns in (False, True)
    )
    assert (kept.trainer.freeze, released.trainer.freeze) == ("backbone", "none")


CALLS = """
from fashreg.learners.standard import StandardLearner

class Calls(StandardLearner):
    '''A learner that tells somebody.'''
    reaches = {"address": None}
    def __init__(self, address: str | None = None):
        super().__init__()
        self.address = address
"""


def test_a_strangers_recipe_reaches_nothing_and_chooses_no_tracker(
    table: Path, tmp_path: Path, fake_plugin: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("fashreg-calls", {"fashreg.learner": {"calls": "fashreg_calls:Calls"}}, CALLS)
    learner = {"name": "fashreg-calls:calls", "address": "http://elsewhere"}
    trainer = {**RECIPE["trainer"], "trackers": ["wandb"]}
    recipe = {**RECIPE, "learner": learner, "trainer": trainer}
    model = save_encoder(tiny_encoder_of_tasks("colour"), tmp_path / "model", recipe=recipe)
    plan = plan_continuing(model, add="pattern", table=table)
    assert (plan.parts.learner.address, plan.recipe.trainer.trackers) == ("http://elsewhere", ["wandb"])
    write_origin(model, Origin("eve/model", "0" * 40))  # as if it had been pulled
    with pytest.raises(OptionError, match="reach address='http://elsewhere', outside of itself"):
        plan_continuing(model, add="pattern", table=table)
    mine = plan_continuing(model, add="pattern", table=table, recipe=recipe)
    assert mine.parts.learner.address == "http://elsewhere", "a recipe of one's own may"
    monkeypatch.setenv("FASHREG_REACH", "http://elsewhere")
    plan = plan_continuing(model, add="pattern", table=table)
    assert plan.recipe.trainer.trackers == []

"""Adding a task to a trained model: the new one learns, the old ones stay equal to the bit, and it is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from task_shop import task_recipe
from typer.testing import CliRunner

import fashreg
from fashreg.cli.app import app
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, RecipeError
from fashreg.jobs.continuing import ContinuedRun, continue_training, plan_continuing
from fashreg.jobs.continuing_source import Beginning
from fashreg.jobs.continuing_tasks import recipe_with_tasks, rest_all_but
from fashreg.testing.tiny_run import CrashError, tiny_encoder_of_tasks
from fashreg.testing.tiny_tasks import TinyTaskLearner
from fashreg.testing.tiny_texts import tiny_text_encoder

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "toys")
OLD = {"find": None, "captioning": None}
FIND = ["tasks.find.kind=composed", "tasks.find.data={text: wish, target: wanted}"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first") / "run"


@pytest.fixture
def first(table: Path, place: Path) -> Path:
    """A run with two tasks, trained once."""
    if not place.exists():
        fashreg.train(task_recipe(table, tasks=OLD), out=place, quiet=True)
    return place


def wishes(table: Path) -> str:
    return str(table.with_name("wishes.csv"))


def added(source: Any, table: Path, out: Path | None = None, **more: Any) -> ContinuedRun:
    how: dict[str, Any] = {"add_task": "find", "table": wishes(table), "overrides": FIND, **more}
    return continue_training(source, out=out, quiet=True, **how)


def weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.state_dict().items()}


def test_the_new_task_learns_and_the_old_ones_stay_to_the_bit(first: Path, table: Path, tmp_path: Path) -> None:
    before = fashreg.load(first / "model")
    run = added(first, table, tmp_path / "run")
    assert run.added == ("find",)
    assert run.kept is not None
    assert dict(run.kept.equal) == {"cross-modal": True, "classification": True}
    after = fashreg.load(tmp_path / "run" / "model")
    assert after.tasks == ("cross-modal", "classification", "find")
    old, new = weights(before), weights(after)
    assert all(torch.equal(new[name], value) for name, value in old.items())
    assert {name for name in new if name not in old} == {name for name in new if "find" in name}
    texts = ["a red shirt", "blue"]
    assert torch.equal(before.embed(texts=texts, task="cross-modal"), after.embed(texts=texts, task="cross-modal"))
    assert before.fingerprint("classification") == after.fingerprint("classification")


def test_what_is_the_new_tasks_own_did_learn(first: Path, table: Path) -> None:
    fresh = plan_continuing(first, add_task="find", table=wishes(table), overrides=FIND).parts.encoder
    run = added(first, table)
    old, new = weights(fresh), weights(run.encoder)
    moved = {name for name in new if not torch.equal(new[name], old[name])}
    assert moved
    assert all("find" in name for name in moved)
    assert run.report.steps == 6


def test_it_is_measured_and_told_like_any_task(first: Path, table: Path, tmp_path: Path) -> None:
    run = added(first, table, tmp_path / "run")
    assert {*run.tasks} == {*run.tasks_before} == {"find"}
    assert "kept to the bit: cross-modal, classification" in run.summary()
    said = json.loads((tmp_path / "run" / "continued.json").read_text())
    assert (said["added"], said["kept"]["equal"]) == (["find"], {"cross-modal": True, "classification": True})
    assert said["continued_from"]["tasks"] == ["cross-modal", "classification"]


def test_classes_and_words_of_new_tasks_are_added_with_their_names(first: Path, table: Path) -> None:
    how = {"add_task": ["shape", "captioning"], "table": table}
    run = continue_training(
        first, overrides=["tasks.shape={kind: classification, data: {label: colour}}"], quiet=True, **how
    )
    assert run.encoder.head.classes["shape"] == ["blue", "green", "red", "white"]
    assert run.kept is not None
    assert run.kept.whole
    assert {*run.tasks} == {"shape", "captioning"}


def test_a_model_may_take_one_task_after_another(first: Path, table: Path, tmp_path: Path) -> None:
    added(first, table, tmp_path / "a")
    how: dict[str, Any] = {"overrides": ["tasks.captioning.data.text=caption"], "out": tmp_path / "b", "quiet": True}
    run = continue_training(tmp_path / "a", add_task="captioning", table=table, **how)
    assert run.kept is not None
    assert dict(run.kept.equal) == {"cross-modal": True, "classification": True, "find": True}


def test_an_interrupted_addition_goes_on_bit_for_bit(
    first: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"overrides": [*FIND, "trainer.evaluate_every=2"]}  # so that the last weights are kept
    expected = added(first, table, tmp_path / "a", **how)

    def stepped(learner: TinyTaskLearner, step: int) -> None:
        if step == 5:
            raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(TinyTaskLearner, "stepped", stepped)
        with pytest.raises(CrashError):
            added(first, table, tmp_path / "b", **how)
    found = added(first, table, tmp_path / "b", resume=True, **how)
    assert found.report.best_step == expected.report.best_step == 6
    pairs = zip(weights(expected.encoder).values(), weights(found.encoder).values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_learner_that_moves_what_rests_is_found_out(
    first: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyTaskLearner, "training_mode", _thawing)
    with pytest.raises(ModelError, match="cross-modal, classification changed although the encoder was to stay"):
        added(first, table)


def _thawing(learner: TinyTaskLearner) -> None:
    learner.frozen.training_mode()
    with torch.no_grad():
        for parameter in learner.session.encoder.backbone.parameters():
            parameter.mul_(1.001)


def test_with_train_encoder_everything_learns_and_what_moved_is_told(first: Path, table: Path) -> None:
    run = added(first, table, train_encoder=True)
    assert run.kept is not None
    assert not run.kept.whole
    assert {*run.kept.alike} == {"cross-modal", "classification"}


def test_an_encoder_in_memory_is_left_as_it_was(table: Path) -> None:
    encoder = tiny_text_encoder({"cross-modal": "cross-modal"})
    before, mode = weights(encoder), [p.requires_grad for p in encoder.parameters()]
    run = added(encoder, table, recipe=task_recipe(table, tasks=OLD))
    assert encoder.tasks == ("cross-modal",)
    assert run.encoder.tasks == ("cross-modal", "find")
    assert all(torch.equal(value, before[name]) for name, value in weights(encoder).items())
    assert [p.requires_grad for p in encoder.parameters()] == mode


def test_all_that_is_not_the_new_tasks_own_rests() -> None:
    encoder = tiny_text_encoder()
    resting = rest_all_but(encoder, ["composed"])
    learns = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert learns == {name for name, _ in encoder.named_parameters() if "task_composed" in name}
    assert encoder.backbone.stem in resting
    assert encoder.backbone not in resting
    assert encoder.backbone.adapters["task_composed"] not in resting


def test_what_two_tasks_share_rests_too() -> None:
    encoder = tiny_text_encoder()
    encoder.backbone.modules_of = lambda task: [encoder.backbone.adapters[f"task_{task}"], encoder.backbone.across]
    rest_all_but(encoder, ["composed"])
    assert not any(parameter.requires_grad for parameter in encoder.backbone.across.parameters())


# ---- the command, and what is refused ----


def test_the_command_adds_a_task(first: Path, table: Path, tmp_path: Path) -> None:
    sets = [part for text in FIND for part in ("--set", text)]
    how = ["continue", str(first), "--add-task", "find", "--table", wishes(table), *sets]
    planned = CliRunner().invoke(app, [*how, "--dry-run"])
    assert "task find (composed): train: 12 pictures" in planned.stdout
    done = CliRunner().invoke(app, [*how, "--out", str(tmp_path / "run"), "--no-report"])
    assert done.exit_code == 0, done.output
    assert "kept to the bit: cross-modal, classification" in done.stdout


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"add_task": "classification"}, "knows a task 'classification' already"),
        ({"add_task": ["find", "find"]}, "every task is added once"),
        ({"add_task": "find", "add": "colour"}, "--add-attribute, or --add-task"),
        ({"add_task": "wishes"}, "task 'wishes' has no kind"),
        ({"add_task": "composed"}, "--set tasks.composed.data.target=COLUMN"),
        ({"add_task": "captioning", "table": None}, "--table TABLE, or --set tasks.captioning.data.table=TABLE"),
        ({"add_task": "captioning", "overrides": ["tasks.other.kind=composed"]}, "--add-task other"),
        ({"add_task": "captioning", "overrides": ["backbone=timm"]}, "the encoder is the one that is learned on from"),
        ({"add": "colour", "table": None}, "--table TABLE"),
    ],
)
def test_what_cannot_be_added_is_told_with_what_to_type(
    first: Path, table: Path, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as told:
        plan_continuing(first, **{"table": table, **how})
    assert said in str(told.value)


def test_a_table_of_a_tasks_own_needs_no_other(first: Path, table: Path) -> None:
    plan = plan_continuing(first, add_task="captioning", overrides=[f"tasks.captioning.data.table={table}"])
    assert len(plan.tables.tasks["captioning"].train) == 24


def test_a_backbone_of_pictures_alone_takes_no_task(table: Path) -> None:
    with pytest.raises(ModelError, match="takes no other task"):
        added(tiny_encoder_of_tasks(), table)


def test_what_the_learner_was_told_of_the_old_tasks_is_not_said_of_the_new_ones(table: Path) -> None:
    learner = {"name": "multi-task", "batches": {"cross-modal": 3}, "bases": {"find": 0.5, "captioning": 0.4}}
    recipe = task_recipe(table, tasks=OLD, learner={**learner, "adaptive": True})
    begun = Beginning("run", tiny_text_encoder({"captioning": "captioning"}), recipe=recipe)
    read = recipe_with_tasks(begun, ["find"], wishes(table), overrides=FIND)
    assert read.learner.options == {"bases": {"find": 0.5}, "adaptive": True}
    told = [*FIND, "learner.batches={find: 2}"]
    assert recipe_with_tasks(begun, ["find"], wishes(table), overrides=told).learner.options["batches"] == {"find": 2}

"""A recipe with several tasks: learned, measured, kept, and interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from task_training import FOUR, train

import fashreg
from fashreg.config import read_recipe
from fashreg.hub.parcel import pack
from fashreg.jobs.settling import settled
from fashreg.jobs.training import TrainedRun, check
from fashreg.manifest import MANIFEST
from fashreg.report.writing import write_report
from fashreg.strict_yaml import read_yaml
from fashreg.testing.tiny_run import CrashError
from fashreg.testing.tiny_tasks import TinyTaskLearner

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "toys")


# ---- learning and measuring ----


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def run(table: Path, whole: Path) -> TrainedRun:
    """One run for all tests that only look; a later one finds it whole and goes on after its end."""
    return train(table, whole, resume=whole.exists())


def test_each_task_is_measured_by_its_own_evaluator_and_the_mean_chooses(run: TrainedRun) -> None:
    metrics = run.report.metrics
    primaries = ("cross-modal/mean_recall", "find/mean_recall", "classification/mean")
    chosen = [metrics[name] for name in primaries] + [metrics[f"captioning/{run.tasks['captioning'].primary}"]]
    assert metrics["mean_primary"] == pytest.approx(sum(chosen) / 4)
    assert run.report.best == metrics["mean_primary"]
    assert {name.partition("/")[0] for name in metrics} == {"mean_primary", *FOUR}


def test_a_run_tells_every_task_before_and_after(run: TrainedRun, whole: Path) -> None:
    assert {*run.tasks} == {*run.tasks_before} == {*FOUR}
    assert run.before is run.after is None
    results = json.loads((whole / "results.json").read_text())
    assert {*results["tasks"]} == {*results["tasks_before"]} == {*FOUR}
    assert results["tasks"]["find"]["protocol"]["split"] == "test"
    summary = run.summary()
    assert all(f"{name}: " in summary for name in FOUR)
    for name in FOUR:
        assert json.loads((whole / f"evaluation-{name}" / "evaluation.json").read_text())["metrics"] == pytest.approx(
            run.tasks[name].metrics
        )


def test_the_report_of_a_run_with_tasks_is_written(run: TrainedRun, whole: Path, tmp_path: Path) -> None:
    page = write_report(whole, tmp_path / "report.html").read_text()
    assert all(name in page for name in FOUR)


def test_the_model_of_a_run_answers_as_the_run_measured(run: TrainedRun, whole: Path, table: Path) -> None:
    loaded = fashreg.load(whole / "model")
    assert all(loaded.fingerprint(task) == run.encoder.fingerprint(task) for task in FOUR)
    again = fashreg.evaluate(whole / "model", table, split="test", task="cross-modal", progress=False)
    assert again.metrics == pytest.approx(run.tasks["cross-modal"].metrics)


def test_the_card_of_the_model_tells_every_task_with_its_intervals(run: TrainedRun, whole: Path) -> None:
    card = (whole / "model" / "README.md").read_text()
    front = read_yaml(card.split("---")[1])
    results = front["model-index"][0]["results"]
    assert {one["task"]["type"] for one in results} == {"image-retrieval", "image-classification", "image-to-text"}
    assert len(results) == 4
    for name in FOUR:
        assert f"### {name}" in card
    value = run.tasks["find"].metrics["mean_recall"]
    assert f"| mean\\_recall | {value:.4f} |" in card or f"| mean_recall | {value:.4f} |" in card


def test_a_push_takes_the_evaluations_of_all_tasks_along(run: TrainedRun, whole: Path) -> None:
    parcel = pack(whole)
    assert {part.place: part.kind for part in parcel.parts} == {
        "": "model",
        **{f"evaluation-{name}": "evaluation" for name in FOUR},
    }
    assert f"evaluation-find/{MANIFEST}" in parcel.contents()


def test_the_recipe_of_a_run_is_read_again_and_is_the_same_run(run: TrainedRun, whole: Path) -> None:
    kept = read_recipe(whole / "recipe.yaml")
    assert kept.loss is None
    assert kept.sampler.name == "random"
    assert [item.name for item in kept.evaluators] == list(FOUR.values())
    assert settled(kept, {}) == kept
    assert {*check(kept).tables.tasks} == {*FOUR}


def crash_at(last: int) -> Any:
    def stepped(learner: TinyTaskLearner, step: int) -> None:
        if step == last:
            raise CrashError

    return stepped


@pytest.mark.parametrize("in_turn", [False, True])
def test_an_interrupted_run_goes_on_bit_for_bit(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_turn: bool
) -> None:
    learner = {"name": "tiny-tasks", "in_turn": in_turn}
    trainer = {"epochs": 2, "batch_size": 4, "checkpoint_steps": 5, "evaluate_every": 2}
    expected = train(table, tmp_path / "a", learner=learner, trainer=trainer)
    with monkeypatch.context() as patch:
        patch.setattr(TinyTaskLearner, "stepped", crash_at(38 if in_turn else 31))
        with pytest.raises(CrashError):
            train(table, tmp_path / "b", learner=learner, trainer=trainer)
    found = train(table, tmp_path / "b", learner=learner, trainer=trainer, resume=True)
    pairs = zip(expected.encoder.state_dict().values(), found.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert found.tasks_before["find"].metrics == expected.tasks_before["find"].metrics
    assert found.report.metrics == expected.report.metrics

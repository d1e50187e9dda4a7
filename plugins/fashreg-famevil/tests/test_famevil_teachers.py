"""Teachers: outside of the model, at rest, without gradient; what they add; which of them fit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from famevil_run import KINDS, all_tasks, batch_of, learnt, small_encoder, small_session
from fashreg_famevil.multi_task import MultiTaskLearner
from fashreg_famevil.objectives import answers_of
from fashreg_famevil.teachers import Teachers
from fashreg_famevil.valuing import value_of

from fashreg.assembly import build, told_by
from fashreg.config_trainer import TrainerConfig
from fashreg.encoder import Encoder
from fashreg.errors import OptionError, RecipeError
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import CrashError, difference
from fashreg.training.processes import Processes


def taught(task: str, kind: str, seed: int = 1) -> Encoder:
    return small_encoder({task: kind}, seed=seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model of each task, as folders; that of pictures and texts calls its task otherwise."""
    made = {}
    for task, kind in KINDS.items():
        folder = tmp_path_factory.mktemp("teachers") / task
        save_encoder(taught("search" if task == "match" else task, kind), folder)
        made[task] = str(folder)
    return made


def test_a_teacher_is_no_part_of_the_model_rests_and_never_changes(folders: dict[str, str]) -> None:
    session = small_session()
    names = set(session.encoder.state_dict())
    learner = MultiTaskLearner(teachers=folders)
    learner.bind(session)
    models = [model for model, _ in learner._teaching._models.values()]
    before = copy.deepcopy([model.state_dict() for model in models])
    seen: list[bool] = []
    learner.stepped = lambda step: seen.append(any(m.training for model in models for m in model.modules()))  # type: ignore[method-assign]
    trained: list[int] = []
    own = learner.groups

    def groups() -> Any:
        found = own()
        trained.extend(id(p) for group in found for p in group["params"])
        return found

    learner.groups = groups  # type: ignore[method-assign]
    learner.learn(all_tasks())
    assert set(session.encoder.state_dict()) == names
    assert seen
    assert not any(seen)
    parameters = [p for model in models for p in model.parameters()]
    assert not {id(p) for p in parameters} & set(trained)
    assert all(p.grad is None and not p.requires_grad for p in parameters)
    for state, model in zip(before, models, strict=True):
        assert not difference(state, model.state_dict())


def test_what_a_teacher_says_has_no_gradient(folders: dict[str, str]) -> None:
    student = small_encoder()
    teaching = Teachers.load(folders, student)
    for task in KINDS:
        said = teaching.answers(batch_of(task), task)
        for name in ("rows", "columns", "scale", "logits"):
            value = getattr(said, name)
            assert value is None or value.grad_fn is None


@pytest.mark.parametrize("w", [0.0, 1.0, 1.5])
def test_a_teacher_takes_its_share_of_the_value(folders: dict[str, str], w: float) -> None:
    """value = w_task [(2 - w) L + w L_distillation], for every kind."""
    session = small_session()
    learner = MultiTaskLearner(teachers=folders, distillation_weight=w, loss_weights={"edit": 3.0})
    learner.bind(session).before(all_tasks())
    for task in KINDS:
        parts = learner.objective(batch_of(task)).parts
        mixed = (2.0 - w) * parts[f"{task}.loss"] + w * parts[f"{task}.distillation"]
        assert torch.allclose(parts["loss"], mixed * (3.0 if task == "edit" else 1.0))


def test_a_student_that_agrees_with_its_teacher_is_not_moved_by_it() -> None:
    student, alone = small_encoder(), Processes()
    for task, kind in KINDS.items():
        batch = batch_of(task)
        with torch.no_grad():
            theirs = answers_of(student, batch, task)
        found = value_of(answers_of(student, batch, task), theirs, batch, kind, alone)
        assert found.taught is not None
        student.zero_grad()
        found.taught.backward()
        largest = max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None)
        assert largest < 1e-5, task
        student.zero_grad()
        value_of(answers_of(student, batch, task), None, batch, kind, alone).own.backward()
        assert max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None) > 1e-3


def test_distillation_brings_a_student_nearer_to_its_teacher(folders: dict[str, str]) -> None:
    ends = []
    for teachers in (None, {"name": folders["name"]}):
        session = small_session(kinds={"name": "classification"}, trainer={"epochs": 8, "schedule": "constant"})
        learner = MultiTaskLearner(teachers=teachers, distillation_weight=2.0, clip_lr_factor=1.0)
        learnt(session, learner, {"name": "classification"})
        batch = batch_of("name", 16)
        teaching = Teachers.load({"name": folders["name"]}, session.encoder)
        with torch.no_grad():
            mine = answers_of(session.encoder, batch, "name").logits
            theirs = teaching.answers(batch, "name").logits
        assert mine is not None
        assert theirs is not None
        ends.append(float((theirs.softmax(1) * (theirs.log_softmax(1) - mine.log_softmax(1))).sum(1).mean()))
    assert ends[1] < 0.5 * ends[0]


def test_a_run_with_teachers_that_died_goes_on_bit_for_bit(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)

    def run(folder: Path, fails_at: int | None = None) -> dict[str, torch.Tensor]:
        session = small_session(folder, fails_at=fails_at, trainer={"checkpoint_steps": 2})
        learnt(session, MultiTaskLearner(teachers=folders))
        return {name: value.clone() for name, value in session.encoder.state_dict().items()}

    whole = run(tmp_path / "whole")
    with pytest.raises(CrashError):
        run(tmp_path / "died", 5)
    assert not difference(whole, run(tmp_path / "died"))


def test_teachers_that_do_not_fit_are_refused() -> None:
    student = small_encoder()
    with pytest.raises(RecipeError, match=r"edit.*one of kind composed is needed"):
        Teachers({"edit": taught("name", "classification")}, student)
    other = taught("name", "classification")
    other.head.classes["name"] = other.head.classes["name"][::-1]
    with pytest.raises(RecipeError, match="classes"):
        Teachers({"name": other}, student)
    with pytest.raises(RecipeError, match="vocabulary 700 instead of 600"):
        Teachers({"say": small_encoder({"say": "captioning"}, vocabulary=700)}, student)
    with pytest.raises(RecipeError, match="size"):
        Teachers({"match": small_encoder({"match": "cross-modal"}, image_size=24)}, student)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teachers": {"say": "."}}, r"learner\.teachers names task 'say'; the tasks are match, name"),
        ({"teachers": {"match": "runs/nothere/model"}}, "the teacher of task 'match' is to be in runs/nothere/model"),
        ({"batches": {"say": 3}}, r"learner\.batches names task 'say'"),
        ({"impartial": True, "schedule": "round-robin"}, "--set trainer.accumulate=2"),
        ({"adaptive": True}, "--set trainer.evaluate_every=1"),
    ],
)
def test_options_that_the_tasks_do_not_allow_are_told_before_training(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        MultiTaskLearner(**options).check_tasks(["match", "name"], TrainerConfig(evaluate_every=0))


def test_a_teacher_may_call_its_task_otherwise_or_have_several() -> None:
    student = small_encoder()
    batch = batch_of("match")
    one = small_encoder({"search": "cross-modal"}, seed=4)
    several = small_encoder({"other": "cross-modal", "match": "cross-modal"}, seed=4)
    for model, asked in ((one, "search"), (several, "match")):
        with torch.no_grad():
            wanted = answers_of(model, batch, asked).rows
        found = Teachers({"match": model}, student).answers(batch, "match").rows
        assert torch.allclose(found, wanted, atol=1e-6)
    both = small_encoder({"one": "cross-modal", "two": "cross-modal"})
    with pytest.raises(RecipeError, match=r"one \(cross-modal\), two \(cross-modal\)"):
        Teachers({"match": both}, student)


def test_a_strangers_recipe_has_no_teacher_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fashreg continue` trains by may be the recipe of a model from the Hub."""
    spec = {"name": "multi-task", "teachers": {"say": "eve/one", "name": "eve/two@main"}}
    with told_by("eve/model"), pytest.raises(OptionError, match=r"reach teachers=.*FASHREG_REACH=eve/one,eve/two@main"):
        build("learner", spec)
    monkeypatch.setenv("FASHREG_REACH", "eve/one")
    with told_by("eve/model"), pytest.raises(OptionError, match="reach teachers="):
        build("learner", spec)
    monkeypatch.setenv("FASHREG_REACH", "eve/one,eve/two@main")
    with told_by("eve/model"):
        assert build("learner", spec).teachers == spec["teachers"]
    assert build("learner", spec).teachers == spec["teachers"]

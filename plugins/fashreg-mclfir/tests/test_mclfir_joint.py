"""Joint training and training anew: everything is shown, and every head learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fashreg_mclfir.fine_tune import FineTuneLearner
from fashreg_mclfir.joint import JointLearner
from fashreg_mclfir.lwf import LwFLearner
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from fashreg_mclfir.retrain import RetrainLearner
from mclfir_run import NAMES, end_of, experience, learn, shared, stream_session

from fashreg.errors import ModelError
from fashreg.testing.tiny_run import difference
from fashreg.values import Experience, TrainingBatch


def test_joint_training_moves_every_head_and_shows_every_task_in_proportion() -> None:
    session, learner = stream_session(encoder=shared(*NAMES), trainer={"epochs": 1}), JointLearner()
    start, tasks = end_of(session), []
    own = learner.objective

    def objective(batch: TrainingBatch) -> Any:
        tasks.append(batch.task)
        return own(batch)

    learner.objective = objective  # type: ignore[method-assign]
    (report,) = learn(learner, session, *NAMES)
    assert sorted(tasks) == sorted(name for name in NAMES for _ in range(3))
    assert tasks != sorted(tasks)
    assert (report.experience, report.steps) == ("all", 9)
    moved = difference(start, end_of(session))
    for name in NAMES:
        assert any(f"task_{name}" in one for one in moved)


def test_training_anew_begins_at_the_first_weights_and_equals_joint_training_of_all_so_far() -> None:
    anew, joint = stream_session(trainer={"epochs": 1}), stream_session(trainer={"epochs": 1})
    learner = RetrainLearner().bind(anew)
    steps = [learner.learn(experience(name)).steps for name in NAMES[:2]]
    assert steps == [3, 6]
    other = JointLearner().bind(joint)
    torch.manual_seed(0)
    other.learn(Experience("sleeve", None, parts=tuple(experience(name) for name in NAMES[:2])))
    assert not difference(end_of(anew), end_of(joint))
    assert [anew.cost.of(name).tuples for name in NAMES[:2]] == [18, 36]


def test_training_anew_cannot_learn_on_from_a_model_alone() -> None:
    for state in (None, {"seen": ["colour"], "learnt": ["colour"]}):
        with pytest.raises(ModelError, match="learner=lwf"):
            RetrainLearner().bind(stream_session()).take_up(state)


@pytest.mark.parametrize(
    "make", [FineTuneLearner, LwFLearner, MCLFIRLearner, lambda: MCLFIRLearner(teacher="frozen", target="old-heads")]
)
def test_a_later_run_takes_up_where_an_earlier_one_ended(make: Any) -> None:
    """One run of two experiences, and two runs of one each: the second learns alike where nothing is drawn anew."""
    trainer = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0}
    whole = stream_session(trainer=trainer)
    one = make().bind(whole)
    for name in NAMES[:2]:
        one.learn(experience(name))
    half = stream_session(trainer=trainer)
    first = make().bind(half)
    first.learn(experience(NAMES[0]))
    later = stream_session(trainer=trainer, encoder=half.encoder, loss=half.loss)
    second = make().bind(later)
    second.take_up(first.carry())
    second.learn(experience(NAMES[1]))
    assert second.older == one.older == (NAMES[0],)
    assert not difference(end_of(whole), end_of(later))


def test_from_a_model_alone_its_heads_are_what_is_to_be_kept() -> None:
    session = stream_session(encoder=shared(*NAMES[:2]), trainer={"max_steps": 1})
    learner = LwFLearner().bind(session)
    learner.take_up(None)
    learner.learn(experience("season"))
    assert learner.older == NAMES[:2]
    assert learner.before_this is not None


def test_heads_of_tasks_that_are_still_to_come_are_nothing_to_be_kept() -> None:
    session = stream_session(encoder=shared(*NAMES), trainer={"max_steps": 1})
    learner = LwFLearner().bind(session)
    learner.learn(experience("colour"))
    assert learner.older == ()
    learner.learn(experience("sleeve"))
    assert learner.older == ("colour",)

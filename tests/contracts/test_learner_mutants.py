"""Seeded faults: learners that are wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.learners.standard import StandardLearner
from fashreg.testing.learner import LearnerContract
from fashreg.testing.tiny_run import CrashError
from fashreg.training.best import BestWeights
from fashreg.training.keeping import keep_model
from fashreg.training.objective import Objective
from fashreg.training.optimisation import Group, Optimisation
from fashreg.training.run import Run
from fashreg.training.session import LearnReport
from fashreg.values import Embedded, Experience, TrainingBatch


class Sound(StandardLearner):
    """A learner with a state of its own, the mean of past embeddings: every fault below is seeded into it."""

    def before(self, experience: Experience) -> None:
        if not hasattr(self, "mean"):
            self.mean = torch.zeros(self.session.encoder.embed_dim)

    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor | None:
        pull = (embedded.vectors - self.mean).square().mean()
        self.mean = self.mean.lerp(embedded.vectors.detach().mean(0), 0.5)
        return pull

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = state["mean"].clone()


class ForgetsThePenalty(Sound):
    """The penalty is computed and logged, not added."""

    def objective(self, batch: TrainingBatch) -> Objective:
        own, self.penalty = self.penalty, lambda batch, embedded: None
        try:
            return super().objective(batch)
        finally:
            self.penalty = own


class AveragesThePenalty(Sound):
    """The penalty is divided by the batch size."""

    def objective(self, batch: TrainingBatch) -> Objective:
        own = self.penalty
        self.penalty = lambda b, e: (own(b, e) or 0) / len(b)
        try:
            return super().objective(batch)
        finally:
            self.penalty = own


class CutsTheGraphOfThePenalty(Sound):
    """The penalty sees rows without gradient."""

    def objective(self, batch: TrainingBatch) -> Objective:
        own = self.penalty
        self.penalty = lambda b, e: own(b, e.detach())
        try:
            return super().objective(batch)
        finally:
            self.penalty = own


class PushesBeforeTheLoss(Sound):
    """The memory holds the batch already when the loss is computed."""

    def objective(self, batch: TrainingBatch) -> Objective:
        memory = self.session.memory
        rows = Embedded(self.session.encoder(batch.images), batch.labels, batch.ids)
        memory.align(rows.detach())
        memory.push(rows.detach())
        return super().objective(batch)


class KeepsTheGraphInTheMemory(Sound):
    """Rows are pushed with their gradient."""

    def objective(self, batch: TrainingBatch) -> Objective:
        found = super().objective(batch)
        rows = found.rows
        return found._replace(rows=_Undetachable(rows.vectors, rows.labels, rows.ids, rows.unit))


class _Undetachable(Embedded):
    def detach(self) -> Any:
        return self


class LastWeights(BestWeights):
    """Whatever was measured."""

    def settle(self) -> None:
        keep_model(self.session, self.run)


class KeepsTheLastWeights(Sound):
    """The best weights are measured and not put back."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, LastWeights(value.session, value.run) if name == "_best" else value)


class BeginsTwice(Sound):
    """before() runs again at every epoch."""

    def _epoch(self, run: Run, stop: Any) -> None:
        if run.position.epoch:
            self.before(run.experience)
        super()._epoch(run, stop)


class NeverEnds(Sound):
    """after() is forgotten."""

    def learn(self, experience: Experience) -> LearnReport:
        own, self.after = self.after, lambda experience: None
        try:
            return super().learn(experience)
        finally:
            self.after = own


class EndsBeforeItBegins(Sound):
    """after() runs before the first step."""

    def learn(self, experience: Experience) -> LearnReport:
        self.after(experience)
        own, self.after = self.after, lambda experience: None
        try:
            return super().learn(experience)
        finally:
            self.after = own


class LeavesTheLossUntrained(Sound):
    """The loss's own parameters get no optimiser."""

    def groups(self) -> list[Group]:
        return [group for group in super().groups() if not group["name"].startswith("loss")]


class TrainsTheHeadOnly(Sound):
    """The backbone is forgotten."""

    def groups(self) -> list[Group]:
        return [group for group in super().groups() if not group["name"].startswith("backbone")]


class Unseeded(Sound):
    """Random numbers come from the clock."""

    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor | None:
        chance = torch.Generator()
        chance.seed()
        return (embedded.vectors * torch.rand(embedded.vectors.shape, generator=chance)).sum()


class LosesItsOwnState(Sound):
    """The state of the learner is not in the checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        return


class KeepsAnObject(Sound):
    """The state holds what no checkpoint can write."""

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "session": self.session}


class LosesTheRandomState(Sound):
    """A resumed run draws the numbers of the beginning again."""

    def _restore(self, run: Run) -> None:
        super()._restore(run)
        torch.manual_seed(self.session.seed)


class LosesTheMemory(Sound):
    """A resumed run starts with an empty memory."""

    def _restore(self, run: Run) -> None:
        super()._restore(run)
        self.session.memory.reset()


class LosesTheMomentum(Sound):
    """A resumed run starts with a fresh optimiser."""

    def _restore(self, run: Run) -> None:
        super()._restore(run)
        run.optimisation = Optimisation(self.groups(), run.config, self.session.processes.device)


class LosesTheAverage(Sound):
    """A resumed run starts its averaged weights anew."""

    def _restore(self, run: Run) -> None:
        super()._restore(run)
        if run.position.step and run.ema is not None:
            run.ema.average = {name: value.clone() for name, value in run.ema._followed.items()}


class BeginsTheEpochAgain(Sound):
    """A resumed run goes back to the first batch of its epoch."""

    def _restore(self, run: Run) -> None:
        super()._restore(run)
        run.position = replace(run.position, batch=0)


class LearnsAgain(Sound):
    """Experiences that are done are learned once more."""

    def learn(self, experience: Experience) -> LearnReport:
        self.finished, self._resumed = {}, None
        return super().learn(experience)


FAULTS: dict[type[Sound], str] = {
    ForgetsThePenalty: "test_the_penalty_is_added_to_the_loss_as_it_is",
    AveragesThePenalty: "test_the_penalty_is_added_to_the_loss_as_it_is",
    CutsTheGraphOfThePenalty: "test_the_penalty_sees_the_batch_and_its_rows_with_gradient",
    PushesBeforeTheLoss: "test_the_memory_is_aligned_before_and_given_rows_without_gradient_after_the_loss",
    KeepsTheGraphInTheMemory: "test_the_memory_is_aligned_before_and_given_rows_without_gradient_after_the_loss",
    KeepsTheLastWeights: "test_the_weights_that_measured_best_are_kept",
    BeginsTwice: "test_before_and_after_happen_once_an_experience_around_its_steps",
    NeverEnds: "test_before_and_after_happen_once_an_experience_around_its_steps",
    EndsBeforeItBegins: "test_before_and_after_happen_once_an_experience_around_its_steps",
    LeavesTheLossUntrained: "test_learning_moves_the_encoder_and_the_loss_and_reports_it",
    TrainsTheHeadOnly: "test_learning_moves_the_encoder_and_the_loss_and_reports_it",
    Unseeded: "test_the_same_seed_gives_the_same_weights",
    LosesItsOwnState: "test_a_run_that_died_goes_on_bit_for_bit",
    KeepsAnObject: "test_its_state_can_be_written_and_put_back",
    LosesTheRandomState: "test_a_run_that_died_goes_on_bit_for_bit",
    LosesTheMemory: "test_a_run_that_died_goes_on_bit_for_bit",
    LosesTheMomentum: "test_a_run_that_died_goes_on_bit_for_bit",
    LosesTheAverage: "test_a_run_that_died_goes_on_bit_for_bit",
    BeginsTheEpochAgain: "test_a_run_that_died_goes_on_bit_for_bit",
    LearnsAgain: "test_a_finished_experience_is_not_learned_again",
}
TESTS = [name for name, _ in inspect.getmembers(LearnerContract, inspect.isfunction) if name.startswith("test_")]


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def run_contract_test(name: str, learner: type[Sound], folder: Path) -> None:
    """One test of the suite by hand, with the arguments it asks for."""
    test = getattr(LearnerContract, name)
    given = {"make_learner": learner, "tmp_path": folder, "crash_at": 3}
    test(LearnerContract(), **{key: given[key] for key in inspect.signature(test).parameters if key != "self"})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_contract_notices(fault: type[Sound], tmp_path: Path) -> None:
    with pytest.raises((AssertionError, TypeError, CrashError)):
        run_contract_test(FAULTS[fault], fault, tmp_path)


@pytest.mark.parametrize("name", TESTS)
def test_the_contract_finds_nothing_wrong_with_the_learner_the_faults_were_seeded_into(
    name: str, tmp_path: Path
) -> None:
    run_contract_test(name, Sound, tmp_path)

"""Every learner of the plugin keeps the contract of learners on sessions with a head for each task."""

from __future__ import annotations

from typing import Any

import pytest
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from mclfir_run import LEARNERS, networks, shared, stream_session
from mclfir_run import experience as named

from fashreg.testing.learner import LearnerContract, MakeLearner
from fashreg.training.session import Session
from fashreg.values import Experience

#: One of each class; the other variants are resumed and compared elsewhere.
CHOSEN = ("fine-tune", "mcl-fir-embeddings", "mcl-fir-old-heads", "lwf", "ewc", "replay-distil", "joint", "retrain")


def dies_at(parts: dict[str, Any]) -> Any:
    at = parts.pop("fails_at", None)
    return None if at is None else ("all", at)


class TestLearners(LearnerContract):
    @pytest.fixture(params=CHOSEN)
    def make_learner(self, request: pytest.FixtureRequest) -> MakeLearner:
        return LEARNERS[request.param]

    def session(self, **parts: Any) -> Session:
        folder = parts.pop("folder", None)
        made = stream_session(fails_at=dies_at(parts), encoder=shared("all"), **parts)
        made.folder = folder
        return made

    def experience(self, name: str = "all") -> Experience:
        return named(name)


class TestIndependentNetworks(LearnerContract):
    @pytest.fixture
    def make_learner(self) -> MakeLearner:
        return lambda: MCLFIRLearner("independent", "frozen", weight=0.1, batch_norm="trained")

    def session(self, **parts: Any) -> Session:
        folder = parts.pop("folder", None)
        made = stream_session(fails_at=dies_at(parts), encoder=networks("all"), **parts)
        made.folder = folder
        return made

    def experience(self, name: str = "all") -> Experience:
        return named(name)

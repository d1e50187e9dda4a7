"""The learner keeps the contract of learners, on a session with four tasks."""

from __future__ import annotations

from typing import Any

import pytest
from famevil_run import all_tasks, small_session
from fashreg_famevil.multi_task import MultiTaskLearner

from fashreg.testing.learner import LearnerContract, MakeLearner
from fashreg.training.session import Session
from fashreg.values import Experience


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


class TestMultiTask(LearnerContract):
    @pytest.fixture
    def make_learner(self) -> MakeLearner:
        return lambda: MultiTaskLearner(adaptive=True, clip_lr_factor=0.5)

    def session(self, **parts: Any) -> Session:
        folder = parts.pop("folder", None)
        made = small_session(**parts)
        made.folder = folder
        return made

    def experience(self, name: str = "all") -> Experience:
        return all_tasks(name)

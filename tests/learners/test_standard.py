from __future__ import annotations

from typing import Any

import pytest

from fashreg.learners.standard import StandardLearner
from fashreg.testing.learner import LearnerContract


class TestStandard(LearnerContract):
    @pytest.fixture
    def make_learner(self) -> Any:
        return StandardLearner

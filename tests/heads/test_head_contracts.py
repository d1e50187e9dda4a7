"""The head contract over the heads of the core in the settings that change what they do."""

from __future__ import annotations

from typing import Any

import pytest

from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.head import HeadContract, MultiTaskHeadContract


class TestProjection(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return ProjectionHead(5, in_dim=7)


class TestProjectionWithBatchNorm(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return ProjectionHead(5, in_dim=7, batch_norm=True)


class TestProjectionOfAnyLengthThatWidens(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return ProjectionHead(9, in_dim=7, unit=False)


class TestMultiTaskAsItComes(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return MultiTaskHead(in_dim=7)


class TestMultiTask(MultiTaskHeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return MultiTaskHead(("colour", "season", "length"), in_dim=7, out_dim=5)


class TestMultiTaskOfNestedHeads(MultiTaskHeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return MultiTaskHead(("colour", "season"), ProjectionHead(5, in_dim=7, batch_norm=True))

"""The contracts of backbones and heads over the components of this plugin, in the settings that change what they do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from famevil_small import CLASSES, KINDS, small_backbone, small_head

from fashreg.testing.backbone import BackboneContract
from fashreg.testing.backbone_texts import TextBackboneContract
from fashreg.testing.head import HeadContract, MultiTaskHeadContract, features_for


class TestPlainCLIP(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone({})


class TestFourTasks(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone(KINDS)


class TestOneSetOfAdaptersWithoutAWayAcross(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone({"find": "cross-modal", "edit": "composed"}, task_adapters="one", cross_attention=False)


class TestNoAdapters(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone({"name": "classification"}, task_adapters="none")


class TestTextsOfPlainCLIP(TextBackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone({})


class TestTextsOfFourTasks(TextBackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone(KINDS)


class TestTextsWithOneSetOfAdapters(TextBackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return small_backbone(KINDS, task_adapters="one")


class TestAHeadWithoutTasks(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return small_head({})


class TestTheHeadOfFourTasks(MultiTaskHeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return small_head(KINDS)

    def test_it_serves_several_tasks_each_with_a_vector_of_its_own(self, head: Any) -> None:
        """The rows are the trunk's, made unit: what tells tasks apart are its adapters, and what stands beside them."""
        rows = [head(features_for(head), task) for task in head.tasks]
        assert all(torch.equal(rows[0], row) for row in rows)
        assert len({type(head.head_of(task)) for task in head.tasks}) > 1
        assert head.classes == CLASSES

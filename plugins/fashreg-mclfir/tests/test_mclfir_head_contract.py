"""The head contracts over the heads of this plugin in the settings that change what they do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fashreg_mclfir.attention import AttributeAttentionHead
from fashreg_mclfir.own_network import OwnNetworkHead

from fashreg.backbones.timm import TimmBackbone
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.testing.head import HeadContract, MultiTaskHeadContract


def small(model: str = "test_efficientnet") -> TimmBackbone:
    return TimmBackbone(model, None, image_size=32)


class TestAttentionWithALearntVector(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return AttributeAttentionHead(5, in_dim=7)


class TestAttentionWithATextVector(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        head = AttributeAttentionHead(5, in_dim=7, vector="text", text_dim=6)
        head.tell(torch.linspace(-1, 1, 6))
        return head


class TestAttentionForSeveralTasks(MultiTaskHeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return MultiTaskHead(("colour", "season"), AttributeAttentionHead(5, in_dim=7))


class TestAWholeNetwork(HeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return OwnNetworkHead(small(), AttributeAttentionHead(5, in_dim=1), in_dim=3)


class TestTheRestOfANetworkForSeveralTasks(MultiTaskHeadContract):
    @pytest.fixture
    def head(self) -> Any:
        return MultiTaskHead(("colour", "season"), OwnNetworkHead(small(), ProjectionHead(5, in_dim=1), 3, in_dim=24))

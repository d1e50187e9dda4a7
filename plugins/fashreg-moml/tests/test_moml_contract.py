"""The loss contract over MultiObjectiveLoss in the settings that change what is computed."""

from __future__ import annotations

from typing import Any

import pytest
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.repulsion import ProxyRepulsionLoss

from fashreg.testing.loss import LossContract


def made(**options: Any) -> MultiObjectiveLoss:
    return MultiObjectiveLoss(num_classes=5, embed_dim=8, **options)


class TestAsItComes(LossContract):
    @pytest.fixture
    def loss(self) -> Any:
        return made()


class TestUncertaintyOverEveryPair(LossContract):
    @pytest.fixture
    def loss(self) -> Any:
        return made(rule="uncertainty", mining=None, virtual=False, pair="contrastive", proxy="normalized-softmax")


class TestThreeProxiesAClass(LossContract):
    @pytest.fixture
    def loss(self) -> Any:
        return made(proxies_per_class=3, rule="gradnorm", mining="union")


class TestProxiesAndRepulsionOnly(LossContract):
    @pytest.fixture
    def loss(self) -> Any:
        return made(pair=None, rule="loss-statistics", repulsion={"name": "proxy-repulsion", "over": "all"})


class TestRepulsionAlone(LossContract):
    @pytest.fixture(params=["soft-max", "largest", "hinge"])
    def loss(self, request: pytest.FixtureRequest) -> Any:
        return ProxyRepulsionLoss(num_classes=5, embed_dim=8, form=request.param, proxies_per_class=2)

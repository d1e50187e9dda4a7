"""The backbone contract over one network of each family that is cut in its own way."""

from __future__ import annotations

from typing import Any

import pytest

from fashreg.backbones.timm import TimmBackbone
from fashreg.testing.backbone import BackboneContract


class TestResNet(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("resnet10t", None, image_size=48)


class TestResNetUpToLayer2WithMaximumPooling(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("resnet10t", None, image_size=48, last_stage="layer2", pooling="max")


class TestEfficientNetLite(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("efficientnet_lite0", None, image_size=48)


class TestMobileNetWhosePoolingHasWeights(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("mobilenetv3_small_050", None, image_size=48)


class TestMobileNetWithPlainAverage(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("mobilenetv3_small_050", None, image_size=48, pooling="avg")


class TestConvNeXt(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("convnext_atto", None, image_size=48)


class TestRegNet(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("regnetx_002", None, image_size=48)


class TestViT(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("vit_tiny_patch16_224", None, image_size=48, last_stage="blocks.3")


class TestANetworkThatCannotBeCut(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TimmBackbone("ghostnet_050", None, image_size=48)

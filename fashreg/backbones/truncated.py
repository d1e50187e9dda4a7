"""The first stages of another backbone."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.backbones.part import keep_stages
from fashreg.interfaces import Backbone
from fashreg.values import InputSpec


class TruncatedBackbone(nn.Module):
    """The first stages of any other backbone; the later ones are taken out, and neither saved nor counted.

    With k stages kept, the map is what stage k gives, and the pooled feature is the mean of that map. keep = 0 keeps
    none: one stage, "pictures", that hands the prepared pictures on, for heads that bring a whole network each (head
    own-network of fashreg-mclfir: one network per attribute). The given backbone itself is cut, not a copy of it.

    Source: none; the cut itself, e.g. ResNet-50 up to its third stage in Xiao, Yamasaki, 2026,
        https://arxiv.org/abs/2603.20648
    Differs: timm has `last_stage` of its own, by name; this works for every backbone whose `to_map` also takes the
        output of an earlier stage (ValueError if not).
    See also: timm, multi-task (head).

    Args:
        backbone: the backbone to cut, e.g. {name: timm, model: resnet50, weights: hub}.
        keep: how many of its stages, from the first; ResNet-50 has 5 (stem, layer1 to layer4).
    """

    modalities: frozenset[str] = frozenset({"image"})

    def __init__(self, backbone: Backbone, keep: Annotated[int, Field(ge=0)] = 1) -> None:
        super().__init__()
        if keep < 0:
            raise ValueError(f"keep is a number of stages, 0 or more, not {keep}")
        inner: Any = backbone
        if keep > len(inner.stages):
            raise ValueError(f"keep={keep}, and the backbone has {len(inner.stages)} stages: {', '.join(inner.stages)}")
        self.backbone, self.keep = inner, keep
        self.input_spec: InputSpec = inner.input_spec
        self.stages: tuple[str, ...] = tuple(inner.stages[:keep]) or ("pictures",)
        keep_stages(inner, 0, keep)
        self.map_dim = self.out_dim = self._width()

    @torch.no_grad()
    def _width(self) -> int:
        """Channels of the map, measured on one noisy picture."""
        if self.keep == 0:
            return 3
        modes = {module: module.training for module in self.modules()}
        noise = torch.rand(1, 3, *self.input_spec.size, generator=torch.Generator().manual_seed(0))
        try:
            spatial = self.eval().to_map(self.run_stages(noise))
        except Exception as error:  # a backbone made by others may raise anything here
            spatial, why = noise[0], str(error)
        else:
            why = f"it gives {tuple(spatial.shape)}"
        for module, training in modes.items():
            module.training = training
        if spatial.ndim != 4:
            raise ValueError(f"the output of stage {self.stages[-1]!r} cannot be read as a spatial map ({why})")
        return int(spatial.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C)."""
        return self.pool(self.run_stages(images))

    def run_stages(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Stages start..stop-1 of those that were kept. start = 0 takes images."""
        stop = len(self.stages) if stop is None else stop
        if self.keep == 0 or start >= stop:
            return x
        features: Tensor = self.backbone.run_stages(x, start, stop)
        return features

    def pool(self, features: Tensor) -> Tensor:
        """Output of the last kept stage -> (B, C)."""
        return self.to_map(features).mean((2, 3))

    def to_map(self, features: Tensor) -> Tensor:
        """Output of the last kept stage -> (B, C, h, w)."""
        spatial: Tensor = features if self.keep == 0 else self.backbone.to_map(features)
        return spatial

    def stage_modules(self, index: int) -> list[Any]:
        """The modules whose parameters belong to stage `index`."""
        at = range(len(self.stages))[index]
        modules: list[Any] = self.backbone.stage_modules(at) if self.keep else []
        return modules

"""A backbone and a head as one network: its steps, where it may be cut, and features of pictures, texts and both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.encoder.questions import task_for
from fashreg.hub.origin import Origin
from fashreg.values import InputSpec


class Network(nn.Module):
    """A backbone (fashreg.interfaces.Backbone) and a head (fashreg.interfaces.Head), both nn.Modules.

    input_spec: how pictures become tensors; the backbone's own unless given. What happens before the head is a row of
    steps: the backbone's stages, then pooling (or, for a head on maps, the map). `stage` counts the steps that are
    done: 0 = pictures, `cuts` = what the head takes. Freezing and caching cut there.
    Filters and pictures are kept in channels-last order, which is faster on CPUs (training of an EfficientNet-Lite0:
    1.7 x) and never slower; the numbers come out alike wherever the encoder is trained, saved and loaded.
    """

    def __init__(self, backbone: Any, head: Any, *, input_spec: InputSpec | None = None) -> None:
        super().__init__()
        wants = backbone.out_dim if head.takes == "pooled" else backbone.map_dim
        if head.in_dim != wants:
            raise ValueError(
                f"the head takes {head.takes} features of width {head.in_dim} and the backbone gives {wants}: "
                f"make the head with in_dim={wants}"
            )
        self.backbone = backbone
        self.head = head
        self.input_spec: InputSpec = input_spec or backbone.input_spec
        self.origin: Origin | None = None  # the repository and commit it was loaded from, if it was
        self.to(memory_format=torch.channels_last)

    @property
    def embed_dim(self) -> int:
        """D, the width of the embedding."""
        return int(self.head.out_dim)

    @property
    def cuts(self) -> int:
        """Number of steps before the head, the largest `stage`."""
        return len(self.backbone.stages) + 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks, () for one that has one vector for everything."""
        return tuple(getattr(self.backbone, "tasks", ())) or tuple(self.head.tasks)

    def forward(self, images: Tensor, task: str | None = None, stage: int = 0) -> Tensor:
        """Embeddings (B, D). images: (B, 3, H, W), or what `until(images, stage)` gave. task: which head answers."""
        vectors: Tensor = self.head(self.steps(images, stage, self.cuts, task), task)
        return vectors

    def until(self, images: Tensor, stage: int, task: str | None = None) -> Tensor:
        """What the first `stage` steps make of pictures (B, 3, H, W); `from_stage` goes on from there."""
        return self.steps(images, 0, stage, task)

    def from_stage(self, x: Tensor, stage: int, task: str | None = None) -> Tensor:
        """Embeddings (B, D) from the output of the first `stage` steps."""
        vectors: Tensor = self(x, task, stage)
        return vectors

    def steps(self, x: Tensor, start: int, stop: int, task: str | None = None) -> Tensor:
        """Steps start..stop-1 before the head. start = 0 takes pictures (B, 3, H, W).

        task: for a backbone whose work depends on it; any other is not told.
        """
        if not 0 <= start <= stop <= self.cuts:
            raise ValueError(f"steps {start} to {stop}: this encoder can be cut at 0 to {self.cuts}")
        stages, last = len(self.backbone.stages), stop == self.cuts
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        told = self._told(task)
        if start == 0 and last and self.head.takes == "pooled":
            whole: Tensor = self.backbone(x, **told)
            return whole
        if start < min(stop, stages):
            x = self.backbone.run_stages(x, start, min(stop, stages), **told)
        if last and start < stop:
            x = self.backbone.pool(x) if self.head.takes == "pooled" else self.backbone.to_map(x)
        return x

    def _told(self, task: str | None) -> dict[str, str | None]:
        return {"task": task} if getattr(self.backbone, "tasks", ()) else {}

    def features(
        self, images: Tensor | None = None, texts: Sequence[str] | None = None, task: str | None = None
    ) -> Tensor:
        """What the head takes, (B, F), with gradient: of pictures (B, 3, H, W), of B texts, or of both together."""
        if texts is None:
            if images is None:
                raise ValueError("features of what? give images, texts, or both")
            return self.steps(images, 0, self.cuts, task)
        if images is None:
            said: Tensor = self.backbone.encode_text(texts, **self._told(task))
            return said
        images = images.contiguous(memory_format=torch.channels_last)
        together: Tensor = self.backbone.compose(images, texts, **self._told(task))
        return together

    def forward_text(self, texts: Sequence[str], task: str | None = None) -> Tensor:
        """Embeddings (B, D) of texts, with gradient. task: as `embed` chooses it."""
        task = task_for(self, "texts", task)
        vectors: Tensor = self.head(self.features(None, texts, task), task)
        return vectors

    def forward_composed(self, images: Tensor, texts: Sequence[str], task: str | None = None) -> Tensor:
        """Embeddings (B, D) of pictures (B, 3, H, W), each with its text, with gradient. task: as `embed` chooses."""
        task = task_for(self, "both", task)
        vectors: Tensor = self.head(self.features(images, texts, task), task)
        return vectors

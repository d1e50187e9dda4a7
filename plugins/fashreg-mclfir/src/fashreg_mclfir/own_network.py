"""A whole network as a head: what keeps attributes entirely apart."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.backbones.part import keep_stages
from fashreg.heads.multi_task import fresh_head
from fashreg.interfaces import Backbone, Head


class OwnNetworkHead(nn.Module):
    """The stages of a backbone from `start` on, then a head: within multi-task, one network for each attribute.

    The encoder's own backbone is then `truncated` with keep = start: what all attributes share, nothing with start 0.
    Every task begins with the weights that the backbone here came with, which are kept beside the tasks' own when the
    model is saved (one network more), so that a task added later begins there, too. Nothing of one task moves another:
    nothing is forgotten, storage and the work of a search grow with the number of attributes.

    Source: Xiao, Yamasaki, "A Multihead Continual Learning Framework for Fine-Grained Fashion Image Retrieval with
        Contrastive Learning and Exponential Moving Average Distillation", 2026, https://arxiv.org/abs/2603.20648
        (its released code trains a copy of the encoder for every attribute; its figure shows one that is shared)
    See also: mcl-fir (learner, mode independent), attribute-attention, truncated (backbone), multi-task.

    Args:
        backbone: the network, with its first weights; stages before `start` are taken out of it.
        head: the head on it. Its in_dim is set to what the network gives.
        start: the first stage that is an attribute's own.
        in_dim: channels of what comes in: 3 for pictures (start 0), else of the map after stage `start`.
        seed: of the first weights of the head.
    """

    takes: Literal["pooled", "map"] = "map"
    tasks: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        start: Annotated[int, Field(ge=0)] = 0,
        *,
        in_dim: Annotated[int, Field(gt=0)],
        seed: Annotated[int, Field(ge=0, lt=2**63)] = 0,
    ) -> None:
        network: Any = backbone
        if not 0 <= start < len(network.stages):
            raise ValueError(
                f"start={start}: the backbone has {len(network.stages)} stages, 0 to one less can be first"
            )
        super().__init__()
        self.start, self.in_dim, self.seed = start, in_dim, seed
        wide = in_dim if _is_cut(network, start) else _entering(network, start)
        if in_dim != wide:
            raise ValueError(_why_not(network, start, in_dim, wide))
        keep_stages(network, start, len(network.stages))
        width = network.out_dim if head.takes == "pooled" else network.map_dim
        inner: Any = head
        self.backbone = network
        self.head: Any = inner if inner.in_dim == width else fresh_head(inner, seed=seed, in_dim=width)
        self.out_dim, self.unit = int(inner.out_dim), bool(inner.unit)

    @property
    def start_of_tasks(self) -> nn.Module:
        """What every task of a multi-task head begins with."""
        network: nn.Module = self.backbone
        return network

    def forward(self, features: Tensor, task: str | None = None) -> Tensor:
        """(B, in_dim, h, w), pictures or the map after stage `start`, -> (B, D)."""
        vectors: Tensor = self.head(self.features(features))
        return vectors

    def features(self, incoming: Tensor) -> Tensor:
        """The same, as far as the head proper: -> (B, F) or (B, C, h, w), as that takes."""
        found = self.backbone.run_stages(incoming, self.start)
        made: Tensor = self.backbone.pool(found) if self.head.takes == "pooled" else self.backbone.to_map(found)
        return made


@torch.no_grad()
def _entering(network: Any, start: int) -> int:
    """Channels of what stage `start` takes, 0 when it is no map that goes on as it is, measured on a noisy picture."""
    if start == 0:
        return 3
    modes = {module: module.training for module in network.modules()}
    noise = torch.rand(1, 3, *network.input_spec.size, generator=torch.Generator().manual_seed(0))
    found = network.eval().run_stages(noise, 0, start)
    spatial = network.to_map(found)
    for module, training in modes.items():
        module.training = training
    return int(found.shape[1]) if found.shape == spatial.shape and torch.equal(found, spatial) else 0


def _is_cut(network: Any, start: int) -> bool:
    """Whether the stages before `start` are gone already, as in a copy."""
    earlier = [module for index in range(start) for module in network.stage_modules(index)]
    return start > 0 and not any(True for module in earlier for _ in module.parameters())


def _why_not(network: Any, start: int, in_dim: int, wide: int) -> str:
    if not wide:
        return (
            f"what travels before stage {network.stages[start]!r} is no map, so a head cannot begin there: use start: 0"
        )
    return (
        f"{in_dim} channels come in, and stage {start} of the network takes {wide}: the encoder's backbone must be "
        f"{{name: truncated, keep: {start}, backbone: ...}} over the same network"
    )

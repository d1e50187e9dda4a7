"""A copy of an encoder that a learner keeps beside it: as it once was, or following it slowly."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.encoder import Encoder
from fashreg.training.processes import Processes
from fashreg_mclfir.heads import before_head, head_of, resolved


class Average:
    """theirs <- d theirs + (1 - d) mine, over pairs of modules of one shape: trained parameters and buffers, in place.

    Batch-norm statistics are averaged as weights are; whole numbers (how many batches there were) are copied. No
    parameter of `theirs` gets a gradient from it. d = 1 changes nothing, d = 0 copies.
    """

    def __init__(self, pairs: Iterable[tuple[nn.Module, nn.Module]]) -> None:
        self.theirs: list[Tensor] = []
        self.mine: list[Tensor] = []
        self._counts: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._statistics = nn.Module()  # floating-point buffers of `theirs`, the very tensors
        for own, other in pairs:
            self._pair(own, other)

    def _pair(self, theirs: nn.Module, mine: nn.Module) -> None:
        rests = {name for name, parameter in mine.named_parameters() if not parameter.requires_grad}
        known = {name for name, _ in mine.named_parameters()}
        now, then = mine.state_dict(), theirs.state_dict()
        for name, value in now.items():
            if name in rests:
                continue
            if not value.is_floating_point():
                self._counts[0].append(then[name])
                self._counts[1].append(value)
                continue
            self.theirs.append(then[name])
            self.mine.append(value)
            if name not in known:
                self._statistics.register_buffer(f"b{len(self.theirs)}", then[name])

    @torch.no_grad()
    def update(self, decay: float, processes: Processes) -> None:
        """After an optimiser step. Several processes keep one average: statistics differ on them, weights do not."""
        if self.theirs:
            torch._foreach_lerp_(self.theirs, self.mine, 1.0 - decay)
        if self._counts[0]:
            torch._foreach_copy_(*self._counts)
        processes.average_buffers(self._statistics)


class Teacher:
    """A copy of an encoder: evaluation mode, no gradient, part of no module tree, so nobody trains or saves it.

    It begins where the encoder's unchanging steps end (`start`), so these run once for both.

    Args:
        encoder: what is copied.
        tasks: whose heads are copied too; where one head serves all tasks, it always is.
    """

    def __init__(self, encoder: Encoder, tasks: Iterable[str | None] = ()) -> None:
        self.network = _copy(encoder, encoder, tasks)

    @torch.no_grad()
    def features(self, entry: Tensor, start: int, task: str | None = None) -> Tensor:
        """What it makes of the output of the first `start` steps: (B, F) or (B, C, h, w).

        task: for heads that are whole networks, through this one's; others are left out.
        """
        network = self.network
        trunk = network.steps(entry, start, network.cuts)
        return trunk if resolved(network, task) is None else before_head(network, trunk, task)[0]

    @torch.no_grad()
    def vectors(self, features: Tensor, task: str | None) -> Tensor:
        """Its head of a task on such features: (B, D)."""
        vectors: Tensor = self.network.head(features, task)
        return vectors

    def following(self, encoder: Encoder, tasks: Iterable[str | None]) -> Average:
        """The average that draws its trunk, and its heads of these tasks, after the encoder's."""
        heads = [(head_of(self.network, task), head_of(encoder, task)) for task in tasks]
        return Average([(self.network.backbone, encoder.backbone), *heads])

    def take_heads(self, encoder: Encoder, tasks: Iterable[str | None]) -> None:
        """Its heads become copies of the encoder's."""
        self.network.head = _copy(encoder, encoder.head, tasks)

    def numbers(self) -> int:
        """How many parameters it keeps."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Its weights by name."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()` of the same network."""
        self.network.load_state_dict(dict(state))


def _copy(encoder: Encoder, part: Any, tasks: Iterable[str | None]) -> Any:
    """A deep copy of a part of the encoder that leaves out the heads of other tasks."""
    kept = set(tasks)
    left_out = [encoder.head.head_of(task) for task in encoder.head.tasks if task not in kept]
    return copy.deepcopy(part, {id(head): nn.Identity() for head in left_out}).requires_grad_(False).eval()

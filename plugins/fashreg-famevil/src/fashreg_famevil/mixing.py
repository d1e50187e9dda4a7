"""Gradients of several batches as one: kept apart by task, scaled where weights are shared, mixed impartially."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fashreg_famevil.balancing import impartial

Gradients = list[Tensor | None]


class GradientsByTask:
    """Takes the gradients that a backward pass left, and gives back one of them all.

        kept = GradientsByTask(parameters)
        for each batch:  value.backward();  kept.take(task)
        kept.give()      # the parameters' gradients are the sum over tasks, or their impartial mix

    Args:
        parameters: whose gradients; they have none at the start.
        mixed: mix impartially (IMTL-G, `fashreg_famevil.balancing.impartial`), parameter by parameter; else add.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, mixed: bool = False) -> None:
        self.parameters, self.mixed = list(parameters), mixed
        self._of: dict[str, Gradients] = {}

    @torch.no_grad()
    def take(self, task: str, factor: float = 1.0, scaled: Iterable[nn.Parameter] = ()) -> None:
        """Add what the parameters hold to what is kept of a task, times `factor` for those in `scaled`; they then
        hold nothing.
        """
        chosen = {id(parameter) for parameter in scaled} if factor != 1.0 else set()
        before = self._of.setdefault(task if self.mixed else "", [None] * len(self.parameters))
        for place, parameter in enumerate(self.parameters):
            found, parameter.grad = parameter.grad, None
            if found is None:
                continue
            if id(parameter) in chosen:
                found.mul_(factor)
            kept = before[place]
            before[place] = found if kept is None else kept.add_(found)

    @torch.no_grad()
    def give(self) -> None:
        """Put the gradients back, as one."""
        for parameter, found in zip(self.parameters, zip(*self._of.values(), strict=True), strict=True):
            there = [gradient for gradient in found if gradient is not None]
            if len(there) < 2:
                parameter.grad = there[0] if there else None
            else:
                parameter.grad = _mixed(there)


def _mixed(found: list[Tensor]) -> Tensor:
    """The impartial mix; of gradients that overflowed (loss scaling sees to those) their sum."""
    if all(bool(torch.isfinite(gradient).all()) for gradient in found):
        return impartial(found)
    return torch.stack(found).sum(dim=0)

"""All that a head says, so that the contract of heads looks at classes, words and scales too, and not at rows alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def answers(head: Any, features: Tensor, task: str | None) -> list[Tensor]:
    """All that a head says of features: rows, and what a task of its kind has beside them (classes, words, a scale)."""
    kind = getattr(head, "kinds", {}).get(task)
    said = [head(features, task)]
    if kind == "classification":
        said.append(head.classify(features, task))
    elif kind == "captioning":
        hidden = torch.randn(len(features), head.text_dim, generator=torch.Generator().manual_seed(4))
        said.append(head.words(hidden.to(features), task))
    elif kind is not None and hasattr(head, "scale_of"):
        said.append(head.scale_of(task) * 1.0)
    return said


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether two lists of answers are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def backward(said: list[Tensor], seed: int) -> None:
    """The gradient of a random sum of all answers."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.stack([(answer * torch.randn(answer.shape, generator=generator)).sum() for answer in said]).sum()
    if total.requires_grad:
        total.backward()  # type: ignore[no-untyped-call]

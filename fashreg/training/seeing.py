"""Samplers that look at the loss's proxies: when they are shown, and what must be there for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fashreg.errors import RecipeError
from fashreg.interfaces import Sampler
from fashreg.training.position import Position


def check_sight(loss: Any, sampler: Sampler) -> None:
    """Refuse a sampler that wants to see proxies beside a loss that has none."""
    if hasattr(sampler, "see") and _proxies(loss) is None:
        raise RecipeError(
            f"{type(sampler).__name__} looks at the loss's proxies, and {type(loss).__name__} has none: choose a loss "
            "with proxies (--set loss=proxy-anchor), or --set sampler=class-balanced",
            field="sampler",
        )


def show_proxies(loss: Any, sampler: Sampler, at: Position, *, ended: bool) -> Mapping[str, float]:
    """After an optimiser step: let a sampler that asks for it see the proxies. ended: this was the epoch's last step.

    Gives what the sampler has to say of the epoch that ended (its `parts`), for the log.
    """
    see = getattr(sampler, "see", None)
    proxies = _proxies(loss)
    if see is None or proxies is None:
        return {}
    sampler.advance_to(at.batch)
    parts: Mapping[str, float] = getattr(sampler, "parts", {}) if ended else {}
    if sampler.wants(at.step):  # type: ignore[attr-defined]
        see(proxies.detach(), at.step)
    return parts


def _proxies(loss: Any) -> Tensor | None:
    found = getattr(loss, "proxies", None)
    return found if isinstance(found, Tensor) else None

"""What may be put together: the options of the whole, and the three objectives with one another."""

from __future__ import annotations

from typing import Any

from torch import nn

from fashreg_moml.proxies import grown, set_proxies
from fashreg_moml.repulsion import ProxyRepulsionLoss

GIVEN = ("balanced", "fixed", "loss-statistics")
LEARNT = ("uncertainty", "gradnorm", "dynamic-average")


def base_weights(rule: str, pair: float | None, repulsion: float | None) -> tuple[float, float, float]:
    """The given weights of pair, proxy, repulsion, or what a rule takes where none are given."""
    if rule not in GIVEN + LEARNT:
        raise ValueError(f"rule is one of {', '.join(GIVEN + LEARNT)}; got {rule!r}")
    if rule in LEARNT and not (pair is None and repulsion is None):
        raise ValueError(f"rule {rule!r} learns its weights: leave out pair_weight and repulsion_weight")
    if min(pair or 0, repulsion or 0) < 0:
        raise ValueError(f"pair_weight and repulsion_weight must not be negative, got {pair} and {repulsion}")
    usual = 0.1 if rule == "balanced" else 1.0
    return (1.0 if pair is None else pair), 1.0, (usual if repulsion is None else repulsion)


def check_numbers(*, every: int, momentum: float, eta: float, epsilon: float, ramp: float, per_class: int) -> None:
    """Refuse numbers that no rule could mean."""
    if every < 1 or per_class < 1:
        raise ValueError(f"every and proxies_per_class must be positive, got {every} and {per_class}")
    if min(momentum, eta, epsilon, ramp) < 0 or eta > 1 or momentum >= 1:
        raise ValueError(
            f"momentum {momentum} must lie in 0..1 (below 1), eta {eta} in 0..1, epsilon {epsilon} and ramp {ramp} "
            "must not be negative"
        )


def join(pair: Any, proxy: Any, repulsion: Any, num_classes: int, per_class: int, embed_dim: int) -> None:
    """Check that the three fit together, and let them share the proxies of the second."""
    if not isinstance(getattr(proxy, "proxies", None), nn.Parameter) or not hasattr(proxy, "num_classes"):
        raise ValueError(f"proxy must be a loss with proxies (C, D) and num_classes; {type(proxy).__name__} is not")
    if not getattr(proxy, "moves_batch", True):
        raise ValueError(f"proxy must be a loss that joins proxies and rows; {type(proxy).__name__} moves no rows")
    for role, term, need in (("pair", pair, None), ("proxy", proxy, None), ("repulsion", repulsion, "between")):
        if term is None:
            continue
        if need and not hasattr(term, need):
            raise ValueError(f"{role} must be a loss with {need}(proxies, labels); {type(term).__name__} has no such")
        if getattr(term, "mode", "") == "pairs" or "second_view" in term.needs:
            raise ValueError(f"{role}: {type(term).__name__} wants partners for its rows, which have no place here")
    if pair is not None and hasattr(pair, "num_classes"):
        raise ValueError(f"pair must be a loss over pairs of rows; {type(pair).__name__} compares rows with classes")
    wanted = num_classes * per_class
    if len(proxy.proxies) == num_classes < wanted:
        set_proxies(proxy, grown(proxy.proxies, wanted))
    if proxy.proxies.shape != (wanted, embed_dim):
        raise ValueError(
            f"{type(proxy).__name__} has proxies {tuple(proxy.proxies.shape)}; {num_classes} classes of {per_class} "
            f"in {embed_dim} dimensions make ({wanted}, {embed_dim})"
        )
    if isinstance(repulsion, ProxyRepulsionLoss):
        repulsion.proxies = None  # it reads those of `proxy`
        repulsion.num_classes, repulsion.proxies_per_class = num_classes, per_class

"""Rows and proxies in relation: which pairs take part, which proxy of its class a row belongs to."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import unit_rows
from fashreg.values import Embedded
from fashreg_moml.miner import TwoRelationMiner
from fashreg_moml.product import times_transposed


@torch.no_grad()
def mined_pairs(
    batch: Embedded, proxies: Tensor, per_class: int, miner: TwoRelationMiner | None, eta: float, virtual: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Relevance (B, B) of the pairs that stay, and the virtual positives: places (V,), unit proxies (V, D).

    proxies (C K, D), K = per_class. miner: None keeps all pairs.
    """
    x = unit_rows(batch.vectors)
    mine = unit_rows(class_proxies(proxies, batch.labels, per_class)).to(x.dtype).view(len(x), per_class, -1)
    t = torch.stack([times_transposed(x, mine[:, k]) for k in range(per_class)]).amax(0)
    positive, negative = pair_masks(batch, dtype=x.dtype)
    if miner is None:
        lone = ~positive.bool().any(1) & virtual
    else:
        positive, negative, lone = miner(times_transposed(x, x), t, positive, negative, eta)
    places = lone.nonzero().flatten()
    nearest = (mine[places] @ x[places, :, None]).squeeze(2).argmax(1)
    return positive.to(x.dtype) * 2 + negative.to(x.dtype) - 1, places, mine[places, nearest]


def with_virtual(batch: Embedded, relevance: Tensor, places: Tensor, own: Tensor) -> tuple[Embedded, Tensor]:
    """The batch's rows and the virtual positives as references (B + V), and the relevance (B, B + V) of all of them."""
    places_ids = torch.full((len(batch) + len(places),), -1, dtype=batch.ids.dtype, device=batch.ids.device)
    rows = torch.cat([batch.vectors, own.to(batch.vectors.dtype)])
    extra = relevance.new_full((len(batch), len(places)), -1.0)
    extra[places, torch.arange(len(places), device=places.device)] = 1.0
    labels = torch.cat([batch.labels, batch.labels[places]])
    return Embedded(rows, labels, places_ids, batch.unit), torch.cat([relevance, extra], 1)


@torch.no_grad()
def own_proxies(batch: Embedded, proxies: Tensor, per_class: int) -> Tensor:
    """Relevance (B, C K): 1 the nearest proxy of the row's class, -1 the others of its class, 0 those of others."""
    x = unit_rows(batch.vectors)
    mine = unit_rows(class_proxies(proxies, batch.labels, per_class)).to(x.dtype).view(len(x), per_class, -1)
    nearest = (mine @ x[:, :, None]).squeeze(2).argmax(1, keepdim=True)
    first = batch.labels.long()[:, None] * per_class
    relevance = x.new_zeros(len(x), len(proxies))
    relevance.scatter_(1, first + torch.arange(per_class, device=first.device), -1.0)
    return relevance.scatter_(1, first + nearest, 1.0)


def class_proxies(proxies: Tensor, labels: Tensor, per_class: int) -> Tensor:
    """The K proxies of each row's class, (B K, D), as they are."""
    turn = torch.arange(per_class, device=labels.device)
    return proxies.detach()[(labels.long()[:, None] * per_class + turn).flatten()]

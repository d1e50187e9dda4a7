"""What each of the three objectives is worth on a batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fashreg.values import Embedded
from fashreg_moml.fused import anchored_and_apart, sharpness_of
from fashreg_moml.miner import TwoRelationMiner
from fashreg_moml.relations import mined_pairs, own_proxies, with_virtual


def pairs_of_batch(
    pair: Any, batch: Embedded, proxies: Tensor, per_class: int, miner: TwoRelationMiner | None, eta: float, own: bool
) -> Tensor:
    """The pair objective on the pairs that the miner keeps, a scalar with gradient.

    own: rows without a positive get their proxy as one, as a reference; the loss must take references.
    """
    given: tuple[Any, ...] = (batch,)
    if miner is not None or own:
        found = mined_pairs(batch, proxies, per_class, miner, eta, own)
        given = (batch, None, found[0]) if not len(found[1]) else (batch, *with_virtual(batch, *found))
    value: Tensor = pair(*given)
    return value


def proxies_of_batch(
    proxy: Any, repulsion: Any | None, batch: Embedded, per_class: int
) -> tuple[dict[str, Tensor], Tensor | None]:
    """ "proxy" and "repulsion", each a scalar with gradient, and the mean cosine of a proxy and the nearest other.

    Where the two losses are of the kind that can be walked together they are; repulsion: None for no such objective.
    """
    proxies: Tensor = proxy.proxies
    how = sharpness_of(proxy, repulsion, batch) if per_class == 1 else None
    if how is not None:
        near, apart, nearest = anchored_and_apart(batch, proxies, how)
        return {"proxy": near, "repulsion": apart}, nearest
    own = own_proxies(batch, proxies, per_class) if per_class > 1 else None
    found = {"proxy": proxy(batch, None, own)}
    if repulsion is None:
        return found, None
    found["repulsion"] = repulsion.between(proxies, batch.labels)
    return found, repulsion.parts.get("nearest")

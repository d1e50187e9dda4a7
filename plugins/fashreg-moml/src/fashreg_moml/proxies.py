"""The proxies that objectives share: several a class, new classes, first values from class means, how near they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fashreg.functional.similarity import unit_rows
from fashreg.losses.proxies import new_proxies
from fashreg_moml.contribution import over_processes

_SCORES = 1 << 24


def set_proxies(owner: Any, values: Tensor) -> None:
    """Give a proxy loss these proxies (C, D) as a new parameter, and the number of its classes."""
    owner.proxies = nn.Parameter(values.detach().clone(), requires_grad=owner.proxies.requires_grad)
    owner.num_classes = len(values)


def grown(proxies: Tensor, count: int) -> Tensor:
    """The proxies (C, D) with new random ones after them, `count` in all."""
    fresh = new_proxies(count, proxies.shape[1]).detach().to(proxies)[len(proxies) :]
    return torch.cat([proxies.detach(), fresh])


@torch.no_grad()
def fill_from_means(proxies: Tensor, rows: Tensor, classes: Tensor, per_class: int) -> None:
    """Point the proxies of these classes, each once, at class means of unit rows (in place; their lengths stay).

    rows (n, K, D): for each of the n classes and its K proxies the sum of unit rows; a zero sum leaves its proxy.
    """
    places = (classes[:, None] * per_class + torch.arange(per_class, device=classes.device)).flatten()
    old = proxies[places]
    wanted = unit_rows(rows.flatten(0, 1).to(old))
    length = torch.linalg.vector_norm(old, dim=1, keepdim=True)
    real = wanted.any(1, keepdim=True)
    proxies[places] = torch.where(real, wanted * length, old)


@torch.no_grad()
def class_sums(rows: Tensor, labels: Tensor, classes: int, per_class: int) -> Tensor:
    """Sums (C, K, D) of the unit rows of each class; its rows go to its K sums in turn."""
    order = torch.argsort(labels, stable=True)
    ranked = labels[order]
    first = torch.searchsorted(ranked, ranked)
    turn = (torch.arange(len(labels), device=labels.device) - first) % per_class
    sums = rows.new_zeros(classes * per_class, rows.shape[1])
    return sums.index_add_(0, ranked * per_class + turn, unit_rows(rows)[order]).view(classes, per_class, -1)


@torch.no_grad()
def meet(proxies: Tensor, met: Tensor, rows: Tensor, labels: Tensor, per_class: int) -> None:
    """Point the proxies of classes that no process has met before at the means of their rows here and now.

    met (C,): which classes were met; changed in place, as the proxies are. rows (B, D), labels (B,).
    """
    if bool(met.all()):
        return
    here = torch.zeros_like(met)
    here[labels] = True
    found = (over_processes((here & ~met).int()) > 0).nonzero().flatten()
    if len(found):
        sums = class_sums(rows, labels, len(met), per_class)[found]
        fill_from_means(proxies, over_processes(sums), found, per_class)
        met[found] = True


@torch.no_grad()
def proxy_similarity(proxies: Tensor, per_class: int = 1) -> dict[str, float]:
    """ "mean" and "largest" cosine between proxies (C K, D) of different classes, by blocks; 0 with one class."""
    p = unit_rows(proxies.detach())
    mine = torch.arange(len(p), device=p.device) // per_class
    total, pairs, largest = 0.0, 0, -1.0
    size = max(1, _SCORES // max(1, len(p)))
    for part in (slice(start, start + size) for start in range(0, len(p), size)):
        u, other = p[part] @ p.T, mine[part][:, None] != mine[None]
        total += float((u * other).sum(dtype=torch.float64))
        pairs += int(other.sum())
        largest = max(largest, float(torch.where(other, u, -1.0).max()))
    return {"mean": total / pairs, "largest": largest} if pairs else {"mean": 0.0, "largest": 0.0}

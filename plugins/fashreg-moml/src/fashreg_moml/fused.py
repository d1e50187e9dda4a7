"""Proxy-anchor and soft-max repulsion in one walk over the proxies, equal in value to the two losses one by one.

The rows X (B, D) and the proxies of the present classes P (Q, D) are stacked and compared with all proxies, some at a
time: while those lie in the cache, their cosines become exponentials, these the weights of both gradients, and the
gradient of the stacked rows grows. The sums of proxy-anchor run over the batch and are complete at once; those of the
repulsion run over all proxies, so its weights wait for a factor by row. What is kept is one (C, B + Q) matrix; the
gradient of the proxies is one product with it, made in the backward pass, where both factors are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fashreg.functional.log_sums import fits
from fashreg.functional.similarity import TINY, full_precision, unit_rows
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.values import Embedded
from fashreg_moml.product import times_transposed
from fashreg_moml.repulsion import ProxyRepulsionLoss

_TILE = {"cpu": 1 << 19, "cuda": 1 << 26}  # numbers of the proxies looked at together


@dataclass(frozen=True, slots=True)
class Sharpness:
    """alpha and margin of proxy-anchor, gamma and apart (its margin) of the repulsion."""

    alpha: float
    margin: float
    gamma: float
    apart: float


def sharpness_of(proxy: Any, repulsion: Any, batch: Embedded) -> Sharpness | None:
    """What the walk needs to know of the two losses, None where they, or the batch, are not of its kind."""
    if type(proxy) is not ProxyAnchorLoss or type(repulsion) is not ProxyRepulsionLoss:
        return None
    plain = repulsion.form == "soft-max" and repulsion.over == "present" and repulsion.exempt is None
    same = proxy.proxies.dtype == batch.vectors.dtype and repulsion.proxies_per_class == 1
    if not (plain and same and len(batch) and (proxy.normalize or batch.unit)):
        return None
    found = Sharpness(proxy.alpha, proxy.margin, repulsion.gamma, repulsion.margin_of(len(proxy.proxies)))
    largest = found.alpha * (1 + found.margin)
    bounded = fits(-largest, largest) and fits(-found.gamma * (1 + found.apart), found.gamma * (1 - found.apart))
    return found if bounded else None


def anchored_and_apart(batch: Embedded, proxies: Tensor, how: Sharpness) -> tuple[Tensor, Tensor, Tensor]:
    """Value of proxy-anchor, value of the repulsion, both with gradient, and the mean of the largest proxy cosines."""
    x = batch.vectors if batch.unit else unit_rows(batch.vectors)
    found: tuple[Tensor, Tensor, Tensor] = _OneWalk.apply(x, proxies, batch.labels.long(), how)
    return found


class _OneWalk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, labels: Tensor, how: Sharpness) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        with full_precision(x):
            walk = _Walk(x, w, labels, how, gradient=any(ctx.needs_input_grad[:2]))
            values = walk.values()
        ctx.mark_non_differentiable(values[2])
        if walk.kept is not None:
            ctx.save_for_backward(x, w, walk.kept, walk.inverse, walk.present, walk.p, walk.by_x, walk.by_p)
        return values

    @staticmethod
    def backward(ctx: Any, proxy: Tensor | None, repulsion: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("proxy-anchor with repulsion in one walk gives first derivatives only")
        x, w, kept, inverse, present, p, by_x, by_p = ctx.saved_tensors
        with torch.no_grad(), full_precision(x):
            by_rows = None if proxy is None or not ctx.needs_input_grad[0] else by_x * proxy
            if not ctx.needs_input_grad[1] or (proxy is None and repulsion is None):
                return by_rows, None, None, None
            b = len(x)
            stacked = [*([] if proxy is None else [x * proxy]), *([] if repulsion is None else [p[0] * repulsion])]
            weights = kept[:, (b if proxy is None else 0) : (b if repulsion is None else None)]
            by_w = _proxies_gradient(weights, torch.cat(stacked), w, inverse)
            if repulsion is not None:
                unit, pull = p[1], by_p * repulsion
                pull = torch.addcmul(pull, unit, (pull * unit).sum(1, keepdim=True), value=-1)
                by_w.index_add_(0, present, pull * inverse[present])
        return by_rows, by_w, None, None


def _proxies_gradient(weights: Tensor, stacked: Tensor, w: Tensor, inverse: Tensor) -> Tensor:
    """(C, D): weights (C, R), already divided by the proxies' lengths, times rows (R, D), along the sphere."""
    by_w, columns = torch.empty_like(w), stacked.T
    for part in _tiles(w):
        into, here = by_w[part], w[part]
        plain = times_transposed(weights[part], columns)
        along = (plain * here).sum(1, keepdim=True).mul_(inverse[part].square())
        torch.addcmul(plain, here, along, value=-1, out=into)
    return by_w


def _tiles(w: Tensor) -> list[slice]:
    size = max(64, _TILE.get(w.device.type, 1 << 22) // w.shape[1])
    return [slice(start, min(start + size, len(w))) for start in range(0, len(w), size)]


class _Walk:
    """The walk itself, in the forward pass.

    kept (C, B + Q): weights over the lengths of the proxies, those of the repulsion without their factor by row.
    inverse (C, 1): 1 / lengths. present (Q,): classes of the batch. p (2, Q, D): their unit proxies, with and without
    that factor. by_x (B, D), by_p (Q, D): gradients with respect to x and to the unit proxies as rows.
    """

    def __init__(self, x: Tensor, w: Tensor, labels: Tensor, how: Sharpness, *, gradient: bool) -> None:
        self.x, self.w, self.labels, self.how = x, w, labels, how
        self.present, place = torch.unique(labels, return_inverse=True)
        self.inverse = w.new_empty(len(w), 1)
        self._near(place)
        b, q = len(x), len(self.present)
        self.kept = w.new_empty(len(w), b + q) if gradient else None
        self.columns = torch.arange(b + q, device=w.device)
        self.places = torch.cat([labels, self.present])
        order = torch.argsort(self.places)
        self.order, self.sorted = order, self.places[order]
        self.pull = torch.zeros(b + q, x.shape[1], dtype=x.dtype, device=x.device)
        self.far, self.sums, self.largest = w.new_zeros(()), w.new_zeros(q), w.new_zeros(q)

    def _near(self, place: Tensor) -> None:
        """The positive half of proxy-anchor, which looks at one cosine a row; its weights (B + Q,), 0 for proxies."""
        how, q = self.how, len(self.present)
        rows = self.w[self.present]
        self.unit = unit_rows(rows)
        t = (self.x * self.unit[place]).sum(1)
        pull = torch.exp((how.margin - t) * how.alpha)
        total = self.w.new_zeros(q).index_add_(0, place, pull)
        self.near = torch.log1p(total).sum() / q
        self.own = torch.cat([pull * (-how.alpha / q) / (1 + total[place]), total.new_zeros(q)])

    def values(self) -> tuple[Tensor, Tensor, Tensor]:
        """Proxy-anchor, repulsion, mean of the largest cosines; afterwards all the rest is there."""
        how, b, q = self.how, len(self.x), len(self.present)
        stacked = torch.cat([self.x * how.alpha, self.unit * how.gamma])
        shift = stacked.new_full((b + q,), how.alpha * how.margin)
        shift[b:] = -how.gamma * how.apart
        tiles = _tiles(self.w)
        ends = torch.tensor([part.stop for part in tiles], device=self.w.device)
        cuts = [0, *torch.searchsorted(self.sorted, ends).tolist()]
        room = self.w.new_empty(tiles[0].stop, b + q) if self.kept is None else None
        for i, part in enumerate(tiles):
            into = self.kept[part] if self.kept is not None else room[: part.stop - part.start]  # type: ignore[index]
            self._tile(part, into, stacked, shift, self.order[cuts[i] : cuts[i + 1]])
        factor = 1 / ((1 + self.sums) * q)
        self.p = torch.stack([self.unit * factor[:, None], self.unit])
        self.by_x, self.by_p = self.pull[:b], self.pull[b:] * factor[:, None]
        apart = torch.log1p(self.sums).sum() / (how.gamma * q)
        nearest = torch.log(self.largest.clamp_min(torch.finfo(self.w.dtype).tiny)) / how.gamma + how.apart
        return self.near + self.far / len(self.w), apart, nearest.clamp_min(-1).mean()

    def _tile(self, part: slice, e: Tensor, stacked: Tensor, shift: Tensor, mine: Tensor) -> None:
        """Some of the proxies; e: room for (n, B + Q). mine: columns whose own proxy is among them."""
        b, here, how = len(self.x), self.w[part], self.how
        length = torch.linalg.vector_norm(here, dim=1, keepdim=True)
        inverse = torch.where(length > TINY, 1.0 / length, 0.0)
        self.inverse[part] = inverse
        torch.addcmul(shift, times_transposed(here, stacked), inverse, out=e).exp_()
        own = (self.places[mine] - part.start, self.columns[mine])
        e[own] = 0.0
        rows, proxies = e[:, :b], e[:, b:]
        total = rows.sum(1, keepdim=True)
        self.far += torch.log1p(total).sum()
        self.sums += proxies.sum(0)
        self.largest = torch.maximum(self.largest, proxies.amax(0))
        if self.kept is None:
            return
        rows.mul_(inverse * (how.alpha / len(self.w)) / (1 + total))
        proxies.mul_(inverse)
        e[own] = self.own[mine] * inverse[own[0], 0]
        self.pull += times_transposed(e.T, here.T)

"""Proxies that push one another apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.log_sums import fits, log_sum
from fashreg.functional.similarity import scores, unit_rows, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.losses.proxies import check_batch, new_proxies
from fashreg.values import Embedded

_SCORES = 1 << 24  # similarities kept at a time when there are many


class ProxyRepulsionLoss(nn.Module):
    """Pushes the proxies of different classes apart, each mostly from its nearest wrong one.

    With u_cc' the cosine of the proxies of classes c and c', Q the classes looked at:

        soft-max:  L = 1/|Q| sum_{c in Q} 1/gamma log(1 + sum_{c' != c} e^{gamma (u_cc' - margin)})
        largest:   L = 1/|Q| sum_{c in Q} max(0, max_{c' != c} u_cc' - margin)      (soft-max, gamma to infinity)
        hinge:     L = 1/|Q| sum_{c in Q} 1/(C - 1) sum_{c' != c} max(0, u_cc' - margin)

    It moves proxies only: its gradient with respect to the batch is 0. So it is a term beside a loss that joins proxies
    and rows (as in multi-objective, where it reads that loss's proxies), or a loss for proxies of your own:
    `between(proxies, labels)`.

    Source: Lee, Roh, "Deep Metric Learning with Multi-Objective Functions", CVFAD workshop at CVPR 2020 (that there is
        such a term; all formulas here are ours). largest, without the floor at 0: Zhao, Xu, Cheng, "RegularFace: Deep
        Face Recognition via Exclusive Regularization", CVPR 2019.

    Differs: the paper's formula was not at hand. With margin 0 no more than 2 D proxies can all be free of repulsion,
    so the margin is 0.1 beyond that; a margin that cannot be met leaves a gradient for ever.

    Shapes: batch (B, D), of which only the labels are read; proxies (C K, D), K in a row for each class; relevance
    (B, C) or None: classes with an entry > 0 are the present ones. Proxies of one class do not repel one another.
    Corner cases: one class, or an empty batch, gives 0.

    See also: multi-objective (joins it with the other two), proxy-anchor.

    Args:
        num_classes: C, classes that get proxies; labels must lie in 0..C-1.
        embed_dim: D, width of the proxies.
        gamma: sharpness of soft-max; larger looks more at the nearest wrong proxy.
        margin: cosine from which proxies repel; None is 0, and 0.1 where C K > 2 D.
        form: soft-max, largest or hinge.
        over: Q: the classes present in the batch, or all (costs C^2).
        proxies_per_class: K.
        exempt: proxies more similar than this leave one another alone (classes that are doubles); None for no limit.
        lr_factor: learning-rate factor of the proxies.
    """

    accepts_references: bool = False
    moves_batch: bool = False
    needs: frozenset[str] = frozenset()
    proxies: nn.Parameter | None

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Field(gt=0)],
        embed_dim: Annotated[int, Field(gt=0)],
        gamma: Annotated[float, Field(gt=0)] = 32.0,
        margin: Annotated[float, Field(ge=-1, le=1)] | None = None,
        form: Literal["soft-max", "largest", "hinge"] = "soft-max",
        over: Literal["present", "all"] = "present",
        proxies_per_class: Annotated[int, Field(gt=0)] = 1,
        exempt: Annotated[float, Field(gt=-1, le=1)] | None = None,
        lr_factor: Annotated[float, Field(gt=0)] = 100.0,
    ) -> None:
        super().__init__()
        if gamma <= 0 or lr_factor <= 0 or proxies_per_class < 1:
            raise ValueError(
                f"gamma {gamma}, lr_factor {lr_factor} and proxies_per_class {proxies_per_class} must be positive"
            )
        if form not in ("soft-max", "largest", "hinge") or over not in ("present", "all"):
            raise ValueError(f"form is soft-max, largest or hinge, over is present or all; got {form!r} and {over!r}")
        self.num_classes, self.embed_dim, self.proxies_per_class = num_classes, embed_dim, proxies_per_class
        self.gamma, self.margin, self.form, self.over, self.exempt = gamma, margin, form, over, exempt
        self.lr_factor = lr_factor
        self.proxies = new_proxies(num_classes * proxies_per_class, embed_dim)
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss of its own proxies, a scalar; parts: "loss" and "nearest", the mean of the largest cosines."""
        if self.proxies is None:
            raise ValueError("these proxies belong to another loss: call between(proxies, labels)")
        check_batch("ProxyRepulsionLoss", batch, self.proxies[:: self.proxies_per_class], relevance)
        labels = batch.labels if relevance is None else (relevance > 0).any(0).nonzero().flatten()
        value = self.between(self.proxies, labels)
        if batch.requires_grad:  # a zero, so that backward() reaches the batch as with every loss
            value = value + with_gradient(batch.vectors, value.new_zeros(()), torch.zeros_like(batch.vectors))
        return value

    def between(self, proxies: Tensor, labels: Tensor) -> Tensor:
        """The loss of any proxies (C K, D), a scalar; labels (n,): of the batch, in any order and number."""
        p = unit_rows(proxies)
        rows = self.rows_of(len(p), labels)
        if len(rows) * len(p) <= _SCORES:
            u = scores(p[rows], p)
            value, weights, nearest = self._of(u.detach(), rows)
            self.parts = {"loss": value, "nearest": nearest}
            return with_gradient(u, value, weights)
        value, gradient = self._by_blocks(p.detach(), rows)
        return with_gradient(p, value, gradient)

    def rows_of(self, count: int, labels: Tensor) -> Tensor:
        """Places of the proxies that are looked at, of `count` in all."""
        if self.over == "all":
            return torch.arange(count, device=labels.device)
        k = self.proxies_per_class
        first: Tensor = torch.unique(labels.long()) * k
        return first if k == 1 else (first[:, None] + torch.arange(k, device=first.device)).flatten()

    def margin_of(self, count: int) -> float:
        """The margin for `count` proxies."""
        return self.margin if self.margin is not None else 0.1 if count > 2 * self.embed_dim else 0.0

    @torch.no_grad()
    def _of(self, u: Tensor, rows: Tensor, share: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Value, derivative with respect to u (n, C K), mean of the largest u. share: divisor, None for n."""
        k, n = self.proxies_per_class, max(1, len(rows) if share is None else share)
        margin = self.margin_of(u.shape[1])
        mine = torch.arange(u.shape[1], device=u.device) // k
        other = (mine[None] != (rows // k)[:, None]).to(u.dtype)
        if self.exempt is not None:
            other *= u <= self.exempt
        masked = u - 3 * (1 - other)
        nearest = masked.amax(1).clamp(min=-1).sum() / n
        if self.form == "soft-max":
            bounded = fits(-self.gamma * (1 + margin), self.gamma * (1 - margin))
            log, weights = log_sum((u - margin) * self.gamma, other, plus_one=True, bounded=bounded)
            return log.sum() / (self.gamma * n), weights.div_(n), nearest
        if self.form == "hinge":
            above = (masked - margin).clamp_(min=0)
            each = n * other.sum(1, keepdim=True).clamp_(min=1)
            return (above / each).sum(), (above > 0).to(u.dtype) / each, nearest
        top, place = masked.max(1, keepdim=True)
        weights = torch.zeros_like(u).scatter_(1, place, (top > margin).to(u.dtype) / n)
        return (top - margin).clamp_(min=0).sum() / n, weights, nearest

    @torch.no_grad()
    def _by_blocks(self, p: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Value and derivative with respect to the unit proxies; never more than _SCORES similarities at a time."""
        gradient, found = torch.zeros_like(p), []
        for part in torch.split(rows, max(1, _SCORES // len(p))):
            value, weights, nearest = self._of(p[part] @ p.T, part, len(rows))
            gradient.addmm_(weights.T, p[part]).index_add_(0, part, weights @ p)
            found.append(torch.stack([value, nearest]))
        value, nearest = torch.stack(found).sum(0)
        self.parts = {"loss": value, "nearest": nearest}
        return value, gradient

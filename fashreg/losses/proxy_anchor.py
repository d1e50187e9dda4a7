"""Proxy-anchor loss: one learnt centre a class, compared with the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.log_sums import fits, log_sum
from fashreg.functional.similarity import rows_of, scores, unit_rows, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.losses.proxies import check_batch, class_masks, new_proxies
from fashreg.values import Embedded


class ProxyAnchorLoss(nn.Module):
    """Each class has a learnt proxy; as an anchor it pulls its images and pushes all others, the hard ones most.

    With t_ic the cosine of row i and the proxy of class c, C+ the classes present in the batch, C all of them:

        L = 1/|C+| sum_{c in C+} log(1 + sum_{i: y_i = c}  e^{-alpha (t_ic - margin)})
          + 1/C    sum_c         log(1 + sum_{i: y_i != c} e^{ alpha (t_ic + margin)})

    Source: Kim, Kim, Cho, Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020,
        https://arxiv.org/abs/2003.13911.

    Differs: nothing in value; equals pytorch-metric-learning's ProxyAnchorLoss without a miner. Sums of exponentials
    keep their largest exponent aside, so any alpha is safe. Several labels a row are taken: relevance (B, C) says for
    every class > 0 own, 0 other, < 0 left out; labels are then not looked at.

    Shapes: batch (B, D), proxies (C, D), relevance (B, C) or None. References are refused: rows are compared with
    proxies only. Corner cases: classes absent from the batch are only pushed; one class, or one row, is fine; the batch
    always has pairs, so the loss is never identically 0.

    See also: normalized-softmax (proxies with a softmax), multi-similarity (the same sums over pairs of images).

    Args:
        num_classes: C, classes that get a proxy; labels must lie in 0..C-1.
        embed_dim: D, width of the rows.
        alpha: sharpness; larger looks more at the hardest rows.
        margin: cosine margin on both sides.
        lr_factor: learning-rate factor of the proxies; the authors use 100.
        normalize: make the batch's rows unit first; proxies always are.
    """

    accepts_references: bool = False
    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Field(gt=0)],
        embed_dim: Annotated[int, Field(gt=0)],
        alpha: Annotated[float, Field(gt=0)] = 32.0,
        margin: Annotated[float, Field(ge=0)] = 0.1,
        lr_factor: Annotated[float, Field(gt=0)] = 100.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if alpha <= 0 or margin < 0 or lr_factor <= 0:
            raise ValueError(f"alpha {alpha} and lr_factor {lr_factor} must be positive, margin {margin} not negative")
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.alpha, self.margin, self.lr_factor, self.normalize = alpha, margin, lr_factor, normalize
        self.proxies = new_proxies(num_classes, embed_dim)
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "positive" and "negative", which add up to it."""
        check_batch("ProxyAnchorLoss", batch, self.proxies, relevance)
        t = scores(rows_of(batch, self.normalize), unit_rows(self.proxies))
        with torch.no_grad():
            own, other = class_masks(batch, self.num_classes, relevance, t.dtype)
            present = own.amax(0).sum().clamp_min(1) if len(batch) else t.new_ones(())
            largest = self.alpha * (1 + self.margin)
            bounded = (self.normalize or batch.unit) and fits(-largest, largest)
            near, pull = log_sum((t - self.margin).mul_(-self.alpha), own, plus_one=True, dim=0, bounded=bounded)
            far, push = log_sum((t + self.margin).mul_(self.alpha), other, plus_one=True, dim=0, bounded=bounded)
            self.parts = {"positive": near.sum() / present, "negative": far.sum() / self.num_classes}
            weights = push.mul_(self.alpha / self.num_classes).sub_(pull.mul_(self.alpha / present))
        return with_gradient(t, self.parts["positive"] + self.parts["negative"], weights)

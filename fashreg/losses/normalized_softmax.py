"""Classification over unit class vectors with a temperature."""

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


class NormalizedSoftmaxLoss(nn.Module):
    """Cross-entropy of the cosines with one learnt vector a class, divided by a temperature.

        L = -1/B sum_i log( e^{t_iy / T} / sum_c e^{t_ic / T} ),   t_ic = x_i . p_c, both unit

    Source: Zhai, Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019,
        https://arxiv.org/abs/1811.12649.

    Differs: nothing in value; equals pytorch-metric-learning's NormalizedSoftmaxLoss (whose W is our proxies
    transposed). Several labels a row are taken: relevance (B, C) says for every class > 0 own, 0 other, < 0 left out of
    the softmax; a row's own classes share the target equally, and a row without any adds nothing (the divisor counts
    rows that have one).

    Shapes: batch (B, D), proxies (C, D), relevance (B, C) or None. References are refused: rows are compared with
    proxies only. Corner cases: classes absent from the batch are only pushed; one row is fine; C = 1 gives 0.

    See also: proxy-anchor (proxies as anchors), infonce (a softmax over images in place of classes).

    Args:
        num_classes: C, classes that get a vector; labels must lie in 0..C-1.
        embed_dim: D, width of the rows.
        temperature: T; the authors use 0.05.
        lr_factor: learning-rate factor of the class vectors (ours: 10).
        normalize: make the batch's rows unit first; class vectors always are.
    """

    accepts_references: bool = False
    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Field(gt=0)],
        embed_dim: Annotated[int, Field(gt=0)],
        temperature: Annotated[float, Field(gt=0)] = 0.05,
        lr_factor: Annotated[float, Field(gt=0)] = 10.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if temperature <= 0 or lr_factor <= 0:
            raise ValueError(f"temperature and lr_factor must be positive, got {temperature} and {lr_factor}")
        self.num_classes, self.embed_dim = num_classes, embed_dim
        self.temperature, self.lr_factor, self.normalize = temperature, lr_factor, normalize
        self.proxies = new_proxies(num_classes, embed_dim)
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "loss"."""
        check_batch("NormalizedSoftmaxLoss", batch, self.proxies, relevance)
        logits = scores(rows_of(batch, self.normalize) * (1.0 / self.temperature), unit_rows(self.proxies))
        bounded = (self.normalize or batch.unit) and fits(-2 / self.temperature, 1 / self.temperature)
        with torch.no_grad():
            value, weights = (
                _one_class_a_row(logits, batch.labels.long(), bounded)
                if relevance is None
                else _several(logits, *class_masks(batch, self.num_classes, relevance, logits.dtype), bounded)
            )
            self.parts = {"loss": value}
        return with_gradient(logits, value, weights)


def _one_class_a_row(logits: Tensor, labels: Tensor, bounded: bool) -> tuple[Tensor, Tensor]:
    """Value and its derivative with respect to the logits (B, C)."""
    log, weights = log_sum(logits.clone(), plus_one=False, bounded=bounded)
    own, b = labels[:, None], max(1, len(labels))
    weights.scatter_add_(1, own, torch.full_like(log, -1.0))
    return (log - logits.gather(1, own)).sum() / b, weights.div_(b)


def _several(logits: Tensor, own: Tensor, other: Tensor, bounded: bool) -> tuple[Tensor, Tensor]:
    """The same with any number of own classes a row; classes that are neither own nor other are left out."""
    log, weights = log_sum(logits.clone(), other.add_(own), plus_one=False, bounded=bounded)
    each = own.sum(1, keepdim=True)
    real = (each > 0).to(logits.dtype)
    real /= real.sum().clamp_min(1)
    share = own.div_(each.clamp_min(1))
    target = (share * logits).sum(1, keepdim=True)
    return ((log - target) * real).sum(), weights.sub_(share).mul_(real)

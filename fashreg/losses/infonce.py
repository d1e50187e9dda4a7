"""InfoNCE: a softmax over candidates, supervised by labels or by pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.blocks import ScoreBlocks, worth_blocks
from fashreg.functional.log_sums import RunningLogSum, drop, fits, log_sum
from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import rows_of, scores, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.losses.partners import candidates, partner_loss
from fashreg.values import Embedded

_LARGEST_SCALE = 100.0  # of a learnt 1 / temperature, as in CLIP


class InfoNCELoss(nn.Module):
    """Asks of every anchor: which of the candidates belong to you? A softmax of cosines over a temperature T.

    mode "supervised": positives P_i share the anchor's label (or are said by relevance), in the batch or among
    references. With A_i all its pairs and N_i its negatives:

        denominator "all":        mean_i mean_{p in P_i} -log( e^{s_ip/T} / sum_{a in A_i} e^{s_ia/T} )
        denominator "negatives":  mean_{(i,p)}           -log( e^{s_ip/T} / (e^{s_ip/T} + sum_{n in N_i} e^{s_in/T}) )

    mode "pairs": row i of the batch belongs to row i of the references (two views, two modalities, anchor and
    positive), or, without references, row i to row i + B/2 (as the `pairs` sampler orders them); all other rows are
    negatives, whatever their labels:

        negatives "other":  candidates of a row are the rows of the other side (as in CLIP)
        negatives "both":   and the other rows of its own side (as in SimCLR, NT-Xent)

    symmetric averages over both sides as anchors; otherwise only the batch's rows are.

    Source: van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
        https://arxiv.org/abs/1807.03748; "all": Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020,
        https://arxiv.org/abs/2004.11362 (L_out); "both": Chen et al., SimCLR, ICML 2020, https://arxiv.org/abs/2002.05709;
        "other": Radford et al., CLIP, ICML 2021, https://arxiv.org/abs/2103.00020.

    Differs: anchors without a positive are left out of the mean. "all" equals pytorch-metric-learning's SupConLoss and
    "negatives" its NTXentLoss, except that a batch without any negative gives SupConLoss 0 there and the formula's
    value here. In mode "pairs" the partner is given by its place, so it counts although it may be a view of the same
    image with the same id; every other pair of equal ids is left out of the softmax, as everywhere.

    Shapes: batch (B, D), references (M, D); mode "pairs" needs M = B. relevance (B, M) for mode "supervised" only.
    Corner cases: no positive at all gives 0 with zero gradient; B = 1 in mode "pairs" gives 0; many references that
    need no gradient are scored block by block in mode "supervised".

    See also: multi-similarity (a soft margin in place of the softmax), normalized-softmax (classes as candidates).

    Args:
        mode: "supervised" or "pairs".
        temperature: T; where it is learnt, its start.
        learnable: learn 1 / T (on a logarithmic scale, at most 100).
        denominator: mode "supervised": "all" pairs, or each positive against the "negatives".
        symmetric: mode "pairs": both sides are anchors.
        negatives: mode "pairs": candidates from the "other" side or from "both".
        mask_same_value: mode "pairs": leave rows with the anchor's label out of its negatives.
        normalize: make rows unit first; False takes vectors as they are.
    """

    accepts_references: bool = True
    needs: frozenset[str] = frozenset()
    lr_factor: float = 1.0

    def __init__(
        self,
        mode: Literal["supervised", "pairs"] = "supervised",
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        learnable: bool = False,
        denominator: Literal["all", "negatives"] = "all",
        symmetric: bool = True,
        negatives: Literal["other", "both"] = "other",
        mask_same_value: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("mode", mode, ("supervised", "pairs")),
            ("denominator", denominator, ("all", "negatives")),
            ("negatives", negatives, ("other", "both")),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be "{choices[0]}" or "{choices[1]}", got {value!r}')
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if mode == "pairs" and denominator != "all":
            raise ValueError(
                'denominator="negatives" belongs to mode="supervised"; in mode="pairs" a row has one partner'
            )
        if mode == "supervised" and (not symmetric or negatives != "other" or mask_same_value):
            raise ValueError('symmetric, negatives and mask_same_value belong to mode="pairs"')
        self.mode, self.temperature, self.learnable, self.denominator = mode, temperature, learnable, denominator
        self.symmetric, self.negatives, self.mask_same_value = symmetric, negatives, mask_same_value
        self.normalize = normalize
        self.labels_needed = mode == "supervised" or mask_same_value
        if learnable:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "positive" and "candidates", which add up to it, and a learnt "temperature"."""
        scale = self._scale()
        if self.mode == "pairs":
            value, parts = self._pairs(batch, references, relevance, scale)
        else:
            value, parts = self._supervised(batch, references, relevance, scale)
        if isinstance(scale, Tensor):
            parts["temperature"] = 1.0 / scale.detach()
        self.parts = parts
        return value

    def _scale(self) -> Tensor | float:
        if not self.learnable:
            return 1.0 / self.temperature
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))
        return self.log_scale.exp()

    def _pairs(
        self, batch: Embedded, references: Embedded | None, relevance: Tensor | None, scale: Tensor | float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if references is None:
            if len(batch) % 2:
                raise ValueError(
                    f'mode="pairs" without references pairs row i with row i + B/2, so B must be even; got {len(batch)}'
                )
            batch, references = _part(batch, 0), _part(batch, 1)
        if len(references) != len(batch):
            raise ValueError(
                f'mode="pairs" needs as many references as rows ({len(batch)}), row i belonging to row i; '
                f"got {len(references)}"
            )
        if relevance is not None:
            raise ValueError('mode="pairs" takes its positives by place; for relevance use mode="supervised"')
        left, right, both = (
            rows_of(batch, self.normalize),
            rows_of(references, self.normalize),
            self.negatives == "both",
        )
        allowed = candidates(batch, references, both_sides=both, mask_same_value=self.mask_same_value, dtype=left.dtype)
        bounded = self._bounded(batch, references)
        return partner_loss(left, right, allowed, scale, symmetric=self.symmetric, both_sides=both, bounded=bounded)

    def _supervised(
        self, batch: Embedded, references: Embedded | None, relevance: Tensor | None, scale: Tensor | float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        anchors = rows_of(batch, self.normalize)
        if references is None:
            x = scores(anchors * scale**0.5)
        elif worth_blocks(batch, references):
            anchors = anchors * scale
            blocks = ScoreBlocks(anchors, batch, references, relevance, normalize=self.normalize)
            value, gradient, parts = _by_blocks(blocks, self.denominator == "all", self._bounded(batch, references))
            return with_gradient(anchors, value, gradient), parts
        else:
            x = scores(anchors * scale, rows_of(references, self.normalize))
        with torch.no_grad():
            masks, bounded = pair_masks(batch, references, relevance, dtype=x.dtype), self._bounded(batch, references)
            among = _among_all if self.denominator == "all" else _among_negatives
            value, weights, parts = among(x, *masks, bounded)
        return with_gradient(x, value, weights), parts

    def _bounded(self, batch: Embedded, references: Embedded | None) -> bool:
        """Whether no exponent can be so large that its row's largest must be set aside first."""
        unit = self.normalize or (batch.unit and (references is None or references.unit))
        return unit and not self.learnable and fits(-2 / self.temperature, 1 / self.temperature)


def _part(batch: Embedded, half: int) -> Embedded:
    b = len(batch) // 2
    rows = slice(half * b, half * b + b)
    return replace(batch, vectors=batch.vectors[rows], labels=batch.labels[rows], ids=batch.ids[rows])


Result = tuple[Tensor, Tensor, dict[str, Tensor]]  # value, its derivative, parts


def _among_all(x: Tensor, positive: Tensor, negative: Tensor, bounded: bool) -> Result:
    each = positive.sum(1, keepdim=True)
    share = positive / each.clamp_min(1)
    real = (each > 0).to(x.dtype)
    real /= real.sum().clamp_min(1)
    log, weights = log_sum(x.clone(), negative.add_(positive), plus_one=False, bounded=bounded)
    parts = {"positive": -((share * x).sum(1, keepdim=True) * real).sum(), "candidates": (log * real).sum()}
    return parts["positive"] + parts["candidates"], weights.sub_(share).mul_(real), parts


def _among_negatives(x: Tensor, positive: Tensor, negative: Tensor, bounded: bool) -> Result:
    far, weights = log_sum(x.clone(), negative, plus_one=False, bounded=bounded)
    count = positive.sum().clamp_min(1)
    doubt = torch.sigmoid(far - x).mul_(positive)  # 1 - probability of each positive
    value = (nn.functional.softplus(far - x, threshold=40) * positive).sum() / count
    pulled = -(x * positive).sum() / count
    weights.mul_(doubt.sum(1, keepdim=True)).sub_(doubt).div_(count)
    return value, weights, {"positive": pulled, "candidates": value - pulled}


@torch.no_grad()
def _by_blocks(blocks: ScoreBlocks, among_all: bool, bounded: bool) -> Result:
    """Value and gradient with respect to the scaled anchors; "negatives" walks the mixed references twice."""
    anchors = blocks.anchors
    sums = RunningLogSum(anchors, plus_one=False, bounded=bounded)
    pulled, pull = anchors.new_zeros(len(anchors), 1), torch.zeros_like(anchors)
    for block in blocks.all():
        x = block.scores
        if block.positive is not None and block.negative is not None:
            pulled += (block.pick(x) * block.positive).sum(1, keepdim=True)
            block.put(x, drop(block.pick(x), block.negative.add_(block.positive) if among_all else block.negative))
            if among_all:
                block.mixed_rows().add_to(pull, block.positive)
        sums.add(x, block.rows)
    positives, _ = blocks.counts()
    log, mean_row = sums.log(), sums.mean_row()
    if among_all:
        real = (positives > 0).to(log.dtype)
        real /= real.sum().clamp_min(1)
        share = real / positives.clamp_min(1)
        parts = {"positive": -(pulled * share).sum(), "candidates": (log * real).sum()}
        return parts["positive"] + parts["candidates"], mean_row.mul_(real).sub_(pull.mul_(share)), parts
    count = positives.sum().clamp_min(1)
    value, doubts = log.new_zeros(()), torch.zeros_like(log)
    for block in blocks.mixed():
        assert block.positive is not None
        gap = torch.sub(log, block.scores, out=block.spare)
        value += (nn.functional.softplus(gap, threshold=40) * block.positive).sum()
        doubt = torch.sigmoid(gap).mul_(block.positive)
        doubts += doubt.sum(1, keepdim=True)
        block.rows.add_to(pull, doubt)
    value, near = value / count, -pulled.sum() / count
    gradient = mean_row.mul_(doubts).sub_(pull).div_(count)
    return value, gradient, {"positive": near, "candidates": value - near}

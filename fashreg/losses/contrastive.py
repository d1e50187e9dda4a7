"""Contrastive loss on cosine similarities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from fashreg.functional.blocks import ScoreBlocks, worth_blocks
from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import rows_of, scores, totals_dtype, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.values import Embedded


class ContrastiveLoss(nn.Module):
    """Pulls every positive up to a margin and pushes negatives that are nearer than another margin.

    With s_ij the cosine of anchor i and partner j, over positives with s < pos_margin and negatives with
    s > neg_margin:

        form "score":  sum (1 - s_ij)          +  sum s_ij                  the form used with cross-batch memories
        form "hinge":  sum (pos_margin - s_ij) +  sum (s_ij - neg_margin)   the classical form

    Both have the same derivative: -1 for a positive, +1 for a negative that counts. normaliser "anchors" divides the
    whole by B, so the memory's share grows with its size; "pairs" takes the mean over the counting positives plus the
    mean over the counting negatives.

    Source: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006; the score
        form: Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020,
        https://arxiv.org/abs/1912.06798.

    Differs from the latter's code: a row is kept from meeting itself by its id and not by s < 1 - 1e-5, which fails in
    half precision. form="hinge", normaliser="pairs" equals pytorch-metric-learning's ContrastiveLoss with
    CosineSimilarity, except that it counts a pair also where the whole batch holds a single one.

    Shapes: batch (B, D), references (M, D) or None, relevance (B, M) or None. Corner cases: no pair at all gives 0 with
    zero gradient; many references that need no gradient are scored block by block.

    See also: multi-similarity (soft weights in place of margins), triplet (relative in place of absolute margins).

    Args:
        pos_margin: positives with a cosine below it count; 1 means all of them.
        neg_margin: negatives with a cosine above it count; 0.5 is the memory authors' value.
        form: "score" or "hinge", see above; only the value differs, not the derivative.
        normaliser: "anchors" divides by B, "pairs" averages over the pairs that count.
        normalize: make rows unit first; False takes vectors as they are (s is then any inner product).
    """

    accepts_references: bool = True
    needs: frozenset[str] = frozenset()
    lr_factor: float = 1.0

    def __init__(
        self,
        pos_margin: float = 1.0,
        neg_margin: float = 0.5,
        form: Literal["score", "hinge"] = "score",
        normaliser: Literal["anchors", "pairs"] = "anchors",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if form not in ("score", "hinge"):
            raise ValueError(f'form must be "score" or "hinge", got {form!r}')
        if normaliser not in ("anchors", "pairs"):
            raise ValueError(f'normaliser must be "anchors" or "pairs", got {normaliser!r}')
        self.pos_margin, self.neg_margin = pos_margin, neg_margin
        self.form, self.normaliser, self.normalize = form, normaliser, normalize
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "positive" and "negative", which add up to it."""
        anchors = rows_of(batch, self.normalize)
        if references is not None and worth_blocks(batch, references):
            blocks = ScoreBlocks(anchors, batch, references, relevance, normalize=self.normalize)
            return with_gradient(anchors, *self._by_blocks(blocks))
        s = scores(anchors, None if references is None else rows_of(references, self.normalize))
        with torch.no_grad():
            positive, negative = pair_masks(batch, references, relevance, dtype=s.dtype)
            gap, excess = self.pos_margin - s, s - self.neg_margin
            near = positive.mul_(torch.gt(gap, 0, out=torch.empty_like(s)))
            far = negative.mul_(torch.gt(excess, 0, out=torch.empty_like(s)))
            sums = near.sum(), _dot(near, gap), far.sum(), _dot(far, excess)
            value, by_near, by_far = self._reduce(len(batch), *sums)
            if by_near is by_far:
                weights = far.sub_(near).mul_(by_far)
            else:
                weights = far.mul_(by_far).sub_(near.mul_(by_near))
        return with_gradient(s, value, weights)

    def _reduce(
        self, b: int, n_near: Tensor, gap: Tensor, n_far: Tensor, excess: Tensor
    ) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """Value, and the factors of positives and of negatives, from the counts and sums of the pairs that count."""
        if self.form == "score":  # 1 - s in place of pos_margin - s, and s in place of s - neg_margin
            gap = gap if self.pos_margin == 1.0 else gap + (1.0 - self.pos_margin) * n_near
            excess = excess + self.neg_margin * n_far
        by_near: Tensor | float = 1.0 / max(1, b)
        by_far = by_near
        if self.normaliser == "pairs":
            by_near, by_far = 1.0 / n_near.clamp_min(1), 1.0 / n_far.clamp_min(1)
        self.parts = {"positive": gap * by_near, "negative": excess * by_far}
        return self.parts["positive"] + self.parts["negative"], by_near, by_far

    @torch.no_grad()
    def _by_blocks(self, blocks: ScoreBlocks) -> tuple[Tensor, Tensor]:
        """Value and gradient with respect to the anchors in one pass over the references."""
        anchors = blocks.anchors
        pull, push = torch.zeros_like(anchors), torch.zeros_like(anchors)
        sums = torch.zeros(4, dtype=totals_dtype(anchors), device=anchors.device)
        alike = self.normaliser == "anchors"  # pulls and pushes weigh the same: one product serves both
        for block in blocks.all():
            excess = block.scores.sub_(self.neg_margin)
            far = block.keep_negatives(torch.gt(excess, 0, out=block.spare))
            sums[2:] += torch.stack([far.sum(), _dot(far, excess)])
            if block.positive is not None:
                gap = (self.pos_margin - self.neg_margin) - block.pick(excess)
                near = torch.gt(gap, 0, out=torch.empty_like(gap)).mul_(block.positive)
                sums[:2] += torch.stack([near.sum(), _dot(near, gap)])
                if alike:
                    block.put(far, block.pick(far).sub_(near))
                else:
                    block.mixed_rows().add_to(pull, near)
            block.rows.add_to(push, far)
        value, by_near, by_far = self._reduce(len(anchors), *sums.unbind())
        gradient = push.mul_(by_far).sub_(pull.mul_(by_near))
        return value.to(anchors.dtype), gradient


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))

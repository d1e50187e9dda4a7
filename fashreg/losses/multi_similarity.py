"""Multi-similarity loss, with optional mining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.blocks import ScoreBlocks, worth_blocks
from fashreg.functional.log_sums import VOID, RunningLogSum, drop, fits, log_sum
from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import rows_of, scores, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.values import Embedded


class MultiSimilarityLoss(nn.Module):
    """Weighs every pair by how it compares with the anchor's other pairs; few hard pairs count most.

    With s_ij the cosine of anchor i and partner j, P_i its positives and N_i its negatives:

        L = 1/B sum_i [ 1/alpha log(1 + sum_{j in P_i} e^{-alpha (s_ij - base)})
                      + 1/beta  log(1 + sum_{j in N_i} e^{ beta (s_ij - base)}) ]

    With `epsilon`, pairs are mined first: a negative stays if it is nearer than the farthest positive plus epsilon, a
    positive if it is farther than the nearest negative minus epsilon. An anchor that loses its pairs adds 0 to the sum;
    the divisor stays B.

    Source: Wang, Han, Huang, Dong, Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
        CVPR 2019, https://arxiv.org/abs/1904.06627.

    Differs: beta is 50, the value in common use, and mining is off unless asked for (the authors' code always mines,
    with epsilon 0.1, beta 40 or 50). An anchor with positives only, or negatives only, keeps the half it has, as in
    pytorch-metric-learning, whose MultiSimilarityLoss (and MultiSimilarityMiner for epsilon) this equals; skip_empty
    drops such anchors as the authors' code does.

    Shapes: batch (B, D), references (M, D) or None, relevance (B, M) or None. Corner cases: no pair at all gives 0 with
    zero gradient; many references that need no gradient are scored block by block.

    See also: contrastive (every pair the same weight), proxy-anchor (the same idea with learnt class centres).

    Args:
        alpha: sharpness among positives; larger looks more at the farthest one.
        beta: sharpness among negatives; larger looks more at the nearest one.
        base: cosine at which a pair starts to matter.
        epsilon: mining margin in cosine; None for no mining.
        skip_empty: leave out anchors that have no positive or no negative.
        normalize: make rows unit first; False takes vectors as they are.
    """

    accepts_references: bool = True
    needs: frozenset[str] = frozenset()
    lr_factor: float = 1.0

    def __init__(
        self,
        alpha: Annotated[float, Field(gt=0)] = 2.0,
        beta: Annotated[float, Field(gt=0)] = 50.0,
        base: float = 0.5,
        epsilon: Annotated[float, Field(ge=0)] | None = None,
        skip_empty: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if alpha <= 0 or beta <= 0:
            raise ValueError(f"alpha and beta must be positive, got {alpha} and {beta}")
        if epsilon is not None and epsilon < 0:
            raise ValueError(f"epsilon must not be negative, got {epsilon}; None turns mining off")
        self.alpha, self.beta, self.base = alpha, beta, base
        self.epsilon, self.skip_empty, self.normalize = epsilon, skip_empty, normalize
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "positive" and "negative", which add up to it."""
        anchors = rows_of(batch, self.normalize)
        bounded = self._bounded(batch, references)
        if references is not None and worth_blocks(batch, references):
            blocks = ScoreBlocks(anchors, batch, references, relevance, normalize=self.normalize)
            return with_gradient(anchors, *self._by_blocks(blocks, bounded))
        s = scores(anchors, None if references is None else rows_of(references, self.normalize))
        with torch.no_grad():
            positive, negative = pair_masks(batch, references, relevance, dtype=s.dtype)
            if self.epsilon is not None:
                _mine(s, positive, negative, self.epsilon)
            near, pull = log_sum(self._exponents(s, -self.alpha), positive, plus_one=True, bounded=bounded)
            far, push = log_sum(self._exponents(s, self.beta), negative, plus_one=True, bounded=bounded)
            kept = None
            if self.skip_empty:
                kept = (positive.any(1, keepdim=True) & negative.any(1, keepdim=True)).to(s.dtype)
            value = self._mean(near, far, kept)
            weights = push.sub_(pull).div_(max(1, len(batch)))
            if kept is not None:
                weights.mul_(kept)
        return with_gradient(s, value, weights)

    def _bounded(self, batch: Embedded, references: Embedded | None) -> bool:
        """Whether no exponent can be so large that its row's largest must be set aside first."""
        unit = self.normalize or (batch.unit and (references is None or references.unit))
        near, far = self.alpha * (1 + self.base), self.beta * (1 - self.base)
        return unit and fits(near - 2 * self.alpha, near) and fits(far - 2 * self.beta, far)

    def _mean(self, near: Tensor, far: Tensor, kept: Tensor | None) -> Tensor:
        if kept is not None:
            near, far = near * kept, far * kept
        b = max(1, len(near))
        self.parts = {"positive": near.sum() / (self.alpha * b), "negative": far.sum() / (self.beta * b)}
        return self.parts["positive"] + self.parts["negative"]

    @torch.no_grad()
    def _by_blocks(self, blocks: ScoreBlocks, bounded: bool) -> tuple[Tensor, Tensor]:
        """Value and gradient with respect to the anchors. One pass; mining walks the mixed references again."""
        near = RunningLogSum(blocks.anchors, plus_one=True, bounded=bounded)
        far = RunningLogSum(blocks.anchors, plus_one=True, bounded=bounded)
        farthest, nearest = _limits(blocks.anchors)
        if self.epsilon is not None:
            for block in blocks.mixed():
                assert block.positive is not None
                farthest = torch.minimum(farthest, -drop(-block.scores, block.positive).amax(1, keepdim=True))
        for block in blocks.all():
            if self.epsilon is None and block.positive is not None:
                near.add(self._exponents(block.pick(block.scores), -self.alpha), block.mixed_rows(), block.positive)
            s, mask = block.scores, None
            if block.negative is not None:
                block.put(s, drop(block.pick(s), block.negative))
            if self.epsilon is not None:
                nearest = torch.maximum(nearest, s.amax(1, keepdim=True))
                mask = torch.gt(s, farthest - self.epsilon, out=block.spare)
            far.add(self._exponents(s, self.beta, out=s), block.rows, mask)
        if self.epsilon is not None:
            for block in blocks.mixed():
                assert block.positive is not None
                hard = block.positive.mul_(torch.lt(block.scores, nearest + self.epsilon, out=block.spare))
                near.add(self._exponents(block.scores, -self.alpha), block.rows, hard)
        kept = None
        gradient = far.mean_row().sub_(near.mean_row()).div_(max(1, len(blocks.anchors)))
        if self.skip_empty and self.epsilon is None:  # mining empties both halves of an anchor or neither
            positives, negatives = blocks.counts()
            kept = ((positives > 0) & (negatives > 0)).to(gradient.dtype)
            gradient.mul_(kept)
        return self._mean(near.log(), far.log(), kept), gradient

    def _exponents(self, s: Tensor, sharpness: float, out: Tensor | None = None) -> Tensor:
        return torch.sub(s, self.base, out=out).mul_(sharpness)


def _limits(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Start values (B, 1) of the farthest positive and the nearest negative: there is none."""
    return anchors.new_full((len(anchors), 1), -VOID), anchors.new_full((len(anchors), 1), VOID)


def _mine(s: Tensor, positive: Tensor, negative: Tensor, epsilon: float) -> None:
    """Drop from the masks, in place, the pairs that are easy by `epsilon` (section "mining" of the paper)."""
    farthest, nearest = _limits(s)
    if s.shape[1]:
        farthest = -drop(-s, positive).amax(1, keepdim=True)
        nearest = drop(s.clone(), negative).amax(1, keepdim=True)
    room = torch.empty_like(s)
    positive.mul_(torch.lt(s - epsilon, nearest, out=room))
    negative.mul_(torch.gt(s + epsilon, farthest, out=room))

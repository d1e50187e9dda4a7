"""Triplet loss on cosine similarities, with batch-hard and semi-hard mining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fashreg.functional.log_sums import VOID, drop
from fashreg.functional.pairs import pair_masks
from fashreg.functional.similarity import rows_of, scores, totals_dtype, with_gradient
from fashreg.losses.calling import loss_call
from fashreg.values import Embedded

_FEW = 16  # up to so many positives an anchor, comparing rank by rank beats sorting


class TripletLoss(nn.Module):
    """Wants every positive nearer than every negative by a margin.

    With s the cosine, a triplet (anchor, positive p, negative n) costs v = s_n - s_p + margin where that is positive:

        mining "all"        every triplet with v > 0
        mining "semi-hard"  those whose negative is still farther than the positive: 0 < v < margin
        mining "hard"       one triplet an anchor: its farthest positive and its nearest negative

    The loss is the mean over the triplets that count; `soft` puts log(1 + e^v) in place of v, without a threshold at 0.

    Source: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015, https://arxiv.org/abs/1503.03832 (semi-hard);
        Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017, https://arxiv.org/abs/1703.07737 (hard, soft).

    Differs: cosines in place of squared distances (on unit rows |x - y|^2 = 2 - 2s, so FaceNet's margin 0.2 is 0.1
    here); semi-hard takes all such triplets, not one for each positive; the mean is over the triplets that cost
    something, where Hermans et al. average batch-hard over all anchors. With CosineSimilarity this equals
    pytorch-metric-learning's TripletMarginLoss alone ("all"; smooth_loss for soft), with TripletMarginMiner of the same
    margin ("semi-hard"), and with BatchHardMiner ("hard").

    No list of triplets is built: a triplet's derivative is +1 for s_n and -1 for s_p, so counting, for each pair, the
    triplets it takes part in gives value and gradient in O(B N log) time and O(B N) memory. A soft margin with "all" or
    "semi-hard" costs one (B, N) pass for each positive of the anchor that has most.

    Shapes: batch (B, D), references (M, D) or None, relevance (B, M) or None. Corner cases: no triplet at all gives 0
    with zero gradient.

    See also: contrastive (absolute margins), multi-similarity (soft weights among all pairs).

    Args:
        margin: how much nearer, in cosine, a positive should be.
        mining: "all", "semi-hard" or "hard", see above.
        soft: log(1 + e^v) in place of max(0, v); then `margin` only shifts v.
        normalize: make rows unit first; False takes vectors as they are.
    """

    accepts_references: bool = True
    needs: frozenset[str] = frozenset()
    lr_factor: float = 1.0

    def __init__(
        self,
        margin: Annotated[float, Field(ge=0)] = 0.1,
        mining: Literal["all", "semi-hard", "hard"] = "all",
        soft: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"margin must not be negative, got {margin}")
        if mining not in ("all", "semi-hard", "hard"):
            raise ValueError(f'mining must be "all", "semi-hard" or "hard", got {mining!r}')
        self.margin, self.mining, self.soft, self.normalize = margin, mining, soft, normalize
        self.parts: Mapping[str, Tensor] = {}

    @loss_call
    def forward(self, batch: Embedded, references: Embedded | None, relevance: Tensor | None) -> Tensor:
        """The loss, a scalar; parts: "loss", and "counting", how many triplets the mean is over."""
        anchors = rows_of(batch, self.normalize)
        s = scores(anchors, None if references is None else rows_of(references, self.normalize))
        with torch.no_grad():
            positive, negative = pair_masks(batch, references, relevance, dtype=s.dtype)
            if s.numel() == 0:
                total, count, weights = s.new_zeros(()), s.new_zeros(()), torch.zeros_like(s)
            elif self.mining == "hard":
                total, count, weights = self._hard(s, positive, negative)
            else:
                total, count, weights = self._many(s, positive, negative)
            share = 1.0 / count.clamp_min(1)
            self.parts = {"loss": total * share, "counting": count}
        return with_gradient(s, self.parts["loss"], weights.mul_(share))

    def _cost(self, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of triplets with violation v where mask is 1, and its derivative; both 0 elsewhere. v is overwritten."""
        if self.soft:
            slope = torch.sigmoid(v).mul_(mask)
            return nn.functional.softplus(v, threshold=40).mul_(mask), slope
        slope = torch.gt(v, 0, out=torch.empty_like(v)).mul_(mask)
        return v.mul_(slope), slope

    def _hard(self, s: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, p = drop(-s, positive).max(1, keepdim=True)
        high, n = drop(s.clone(), negative).max(1, keepdim=True)
        real = ((low > VOID / 2) & (high > VOID / 2)).to(s.dtype)
        cost, slope = self._cost(torch.where(real > 0, high + low + self.margin, 0.0), real)
        weights = torch.zeros_like(s).scatter_(1, n, slope).scatter_add_(1, p, -slope)
        return cost.sum(), (cost > 0).sum().to(s.dtype), weights

    def _many(self, s: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        near, row, column, rank = _positives(s, positive)
        if self.soft or near.shape[1] <= _FEW:
            total, count, of_negatives, of_positives = self._rank_by_rank(s, near, negative)
        else:
            total, count, of_negatives, of_positives = self._by_sorting(s, near, negative)
        of_negatives[row, column] = -of_positives[row, rank]
        return total, count, of_negatives

    def _rank_by_rank(self, s: Tensor, near: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Total cost, triplets counted, and the summed slopes by negative (B, N) and by positive (B, K)."""
        of_negatives, of_positives = torch.zeros_like(s), torch.zeros_like(near)
        total, count = torch.zeros(2, dtype=totals_dtype(s), device=s.device)
        for k in range(near.shape[1]):
            score = near[:, k : k + 1]
            v = s - (score - self.margin)
            mask = negative
            if self.mining == "semi-hard":
                mask = torch.lt(s, score, out=torch.empty_like(s)).mul_(negative)
                if self.soft:
                    mask.mul_(v > 0)
            cost, slope = self._cost(v.clamp_min_(VOID), mask)  # a padded rank has score +inf, so v = -inf
            of_negatives += slope
            of_positives[:, k] = slope.sum(1)
            total += cost.sum()
            count += (cost > 0).sum() if self.soft else of_positives[:, k].sum()
        return total.to(s.dtype), count.to(s.dtype), of_negatives, of_positives

    def _by_sorting(self, s: Tensor, near: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same for many positives: each negative counts with a run of the sorted positives, found by bisection."""
        ranked, order = near.sort(1)
        stop = torch.searchsorted(ranked, s + self.margin)  # positives with s_p < s_n + margin
        start = torch.zeros_like(stop)
        if self.mining == "semi-hard":
            start = torch.searchsorted(ranked, s, right=True).clamp_max_(stop)  # of these, not those with s_p <= s_n
        of_negatives = (stop - start).to(s.dtype).mul_(negative)
        edges = s.new_zeros(len(s), ranked.shape[1] + 1)
        edges.scatter_add_(1, start, negative).scatter_add_(1, stop, -negative)
        runs = edges.cumsum(1)[:, :-1]
        of_positives = torch.empty_like(runs).scatter_(1, order, runs)
        wide, finite = totals_dtype(s), near.masked_fill(near.isinf(), 0.0)
        count = of_negatives.sum(dtype=wide)
        total = (of_negatives.to(wide) * s).sum() - (of_positives.to(wide) * finite).sum() + self.margin * count
        return total.to(s.dtype), count.to(s.dtype), of_negatives, of_positives


def _positives(s: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores of each anchor's positives packed to the left, (B, K), padded with +inf; and row, column, rank of each."""
    row, column = positive.nonzero(as_tuple=True)
    each = torch.bincount(row, minlength=len(s))
    rank = torch.arange(len(row), device=s.device) - (each.cumsum(0) - each)[row]
    near = s.new_full((len(s), int(each.max())), torch.inf)
    near[row, rank] = s[row, column]
    return near, row, column, rank

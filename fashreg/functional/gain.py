"""How much of a gain is there already: one mean between two others, over the same queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fashreg.functional.uncertainty import resampled_means


class Share(NamedTuple):
    """A share and its interval; 1 = all of the gain. It may lie below 0 and above 1."""

    value: float
    low: float
    high: float


def share_of_gain(
    first: Tensor,
    between: Tensor,
    last: Tensor,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    groups: Tensor | None = None,
    seed: int = 0,
) -> Share:
    """(mean between - mean first) / (mean last - mean first) over the same queries, (Q,) each; NaN does not count.

    The interval lies between quantiles of the ratio when queries are drawn anew, all three columns with the same
    queries. It means something where the gain itself is surely not 0; where it is 0, ValueError. groups: whole groups
    of queries are drawn, as in `bootstrap_intervals`.
    Source: Shen, Xiong, Xia, Soatto, "Towards Backward-Compatible Representation Learning", CVPR 2020,
    https://arxiv.org/abs/2003.11942 (their update gain has in the denominator a model trained without regard to the
    old one; here it is the same model throughout).
    """
    if first.ndim != 1 or first.shape != between.shape or first.shape != last.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (first, between, last))
        raise ValueError(f"three results of the same queries are (Q,) each, got {shapes}")
    known = ~(first.isnan() | between.isnan() | last.isnan())
    parts = torch.stack([between.double() - first.double(), last.double() - first.double()], dim=1)[known]
    means = parts.mean(0)
    if not len(parts) or means[1] == 0:
        raise ValueError("there is no gain to have a share of")
    drawn = resampled_means(parts, resamples=resamples, groups=None if groups is None else groups[known], seed=seed)
    ratios = drawn[:, 0] / drawn[:, 1]
    tails = torch.tensor([1 - confidence, 1 + confidence], dtype=torch.float64) / 2
    low, high = torch.quantile(ratios.nan_to_num(nan=1.0), tails).tolist()
    return Share(float(means[0] / means[1]), low, high)

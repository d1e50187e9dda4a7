"""Rules that weigh the three objectives against one another. Values and weights are (3,): pair, proxy, repulsion.

A rule learns from each training step (`learn`) and says the weights (`weights`); all it knows lies in buffers or
parameters. Objectives that are left out have value 0 and are told by `there`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fashreg_moml.contribution import Contribution, corrected

Rule = Literal["balanced", "fixed", "loss-statistics", "uncertainty", "gradnorm", "dynamic-average"]
LEAST, MOST = 1e-3, 1e3  # limits of a weight
_AHEAD = 4.0  # how far a step's contribution may exceed what was aimed at, before its weight is held down
_EPS = 1e-8


class Fixed(nn.Module):
    """The weights as given, for ever; the form of every other rule.

    base (3,): given weights, or aims. there: which objectives take part.
    """

    reads_values: bool = False  # whether the weights follow the values, which must then be equal on every process
    base: Tensor
    there: Tensor

    def __init__(self, base: tuple[float, float, float], there: tuple[bool, bool, bool]) -> None:
        super().__init__()
        self.register_buffer("base", torch.tensor(base), persistent=False)
        self.register_buffer("there", torch.tensor(there), persistent=False)

    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Take in the values (3,) of a training step; measured: this step's norms have been taken in before."""

    def weights(self) -> Tensor:
        """The weights (3,) now."""
        return self.base

    def penalty(self) -> Tensor | None:
        """What the rule adds to the loss."""
        return None


class Balanced(Fixed):
    """Contributions in the given proportion to the proxy objective's: on the rows for pairs, on proxies for repulsion.

    w_pair = base_pair mean|dL_proxy/dX| / mean|dL_pair/dX|, w_repulsion likewise on W, w_proxy = 1; renewed when
    measured. Where a norm was never seen the weight is base.
    """

    kept: Tensor

    def __init__(self, base: tuple[float, float, float], there: tuple[bool, bool, bool]) -> None:
        super().__init__(base, there)
        self.register_buffer("kept", torch.tensor(base))

    @torch.no_grad()
    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Renew the weights from measured norms."""
        if measured:
            usual = ratios(contribution.norms())
            found = held(self.base, usual, ratios(contribution.latest))
            self.kept.copy_(torch.where(usual > 0, found, self.kept))

    def weights(self) -> Tensor:
        """As last renewed."""
        return self.kept


class LossStatistics(Fixed):
    """w_k = base_k / mean L_k: blind to slopes, cheap."""

    reads_values = True
    means: Tensor
    seen: Tensor

    def __init__(self, base: tuple[float, float, float], there: tuple[bool, bool, bool], momentum: float) -> None:
        super().__init__(base, there)
        self.momentum = momentum
        self.register_buffer("means", torch.zeros(3))
        self.register_buffer("seen", torch.zeros(3, dtype=torch.int64))

    @torch.no_grad()
    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Average the values; one that is 0 says nothing."""
        values = values.to(self.means.dtype)
        real = torch.isfinite(values) & (values > 0)
        moved = self.momentum * self.means + (1 - self.momentum) * values
        self.means.copy_(torch.where(real, moved, self.means))
        self.seen.add_(real.long())

    def averages(self) -> Tensor:
        """Mean values (3,), 0 for one that was never seen."""
        return corrected(self.means, self.seen, self.momentum)

    def weights(self) -> Tensor:
        """base over the averages."""
        mean = self.averages()
        return torch.where(mean > 0, (self.base / mean.clamp_min(_EPS)).clamp(LEAST, MOST), self.base)


class Uncertainty(Fixed):
    """sum_k e^{-v_k} L_k / 2 + v_k / 2 with v learnt by the optimiser (at rest v_k = log L_k), held within -6..6."""

    def __init__(self, there: tuple[bool, bool, bool]) -> None:
        super().__init__((1.0, 1.0, 1.0), there)
        self.log_variance = nn.Parameter(torch.zeros(3))

    @torch.no_grad()
    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Hold v within its limits; the rest is the optimiser's."""
        self.log_variance.clamp_(-6.0, 6.0)

    def weights(self) -> Tensor:
        """e^{-v} / 2, with gradient."""
        return 0.5 * torch.exp(-self.log_variance)

    def penalty(self) -> Tensor | None:
        """The sum of v / 2 over the objectives that take part."""
        return 0.5 * (self.log_variance * self.there).sum()


class GradNorm(LossStatistics):
    """Contributions in proportion to how far each objective lags behind: w_k |dL_k| ~ (L_k / L_k(0))^1.5.

    The minimum that GradNorm walks to by gradient steps is known here, as every objective shares a block with the proxy
    one only; it is taken at once. The weights sum to the number of objectives.
    """

    kept: Tensor
    start: Tensor
    lag = 1.5

    def __init__(self, there: tuple[bool, bool, bool], momentum: float) -> None:
        super().__init__((1.0, 1.0, 1.0), there, momentum)
        self.register_buffer("kept", torch.ones(3))
        self.register_buffer("start", torch.zeros(3))

    @torch.no_grad()
    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Keep the first values; renew the weights from measured norms."""
        super().learn(values, contribution, measured)
        self.start.copy_(torch.where((self.start == 0) & (self.means > 0), self.averages(), self.start))
        if measured:
            rest = torch.where(self.start > 0, self.averages() / self.start.clamp_min(_EPS), 0.0)
            aim = ratios(contribution.norms()) * (rest / rest[1].clamp_min(_EPS)) ** self.lag
            found = torch.where(aim > 0, aim, 1.0).clamp(LEAST, MOST) * self.there
            self.kept.copy_(found * self.there.sum() / found.sum())

    def weights(self) -> Tensor:
        """As last renewed."""
        return self.kept


class DynamicAverage(Fixed):
    """w = K softmax(L(t-1) / L(t-2) / 2) with t counting stretches of `every` steps (epochs), L their mean values."""

    reads_values = True
    sums: Tensor
    count: Tensor
    last: Tensor
    kept: Tensor

    def __init__(self, there: tuple[bool, bool, bool], every: int) -> None:
        super().__init__((1.0, 1.0, 1.0), there)
        self.every = every
        for name in ("sums", "last"):
            self.register_buffer(name, torch.zeros(3))
        self.register_buffer("kept", torch.ones(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def learn(self, values: Tensor, contribution: Contribution, measured: bool) -> None:
        """Add up; at the end of a stretch renew the weights."""
        self.sums.add_(torch.where(torch.isfinite(values), values, 0.0).to(self.sums.dtype))
        self.count.add_(1)
        if int(self.count) < self.every:
            return
        mean = self.sums / self.every
        slope = torch.where((self.last > 0) & (mean > 0), mean / self.last.clamp_min(_EPS), 1.0)
        odds = torch.where(self.there, slope / 2, -torch.inf).softmax(0)
        self.kept.copy_(odds * self.there.sum())
        self.last.copy_(mean)
        self.sums.zero_()
        self.count.zero_()

    def weights(self) -> Tensor:
        """As last renewed."""
        return self.kept


def ratios(norms: Tensor) -> Tensor:
    """(3,): what each weight would be for equal contributions beside the proxy objective's 1; 0 where unknown."""
    pair, by_rows, by_proxies, apart = norms
    found = torch.stack([by_rows / (pair + _EPS), torch.ones_like(pair), by_proxies / (apart + _EPS)])
    known = torch.stack([(pair > 0) & (by_rows > 0), pair >= 0, (apart > 0) & (by_proxies > 0)])
    return torch.where(known, found, 0.0)


def held(aim: Tensor, usual: Tensor, now: Tensor) -> Tensor:
    """The weight that reaches `aim`, within the limits, and held down where this step's contribution is far larger.

    usual: what the weight would be for equal contributions by the running means; now: by this step, 0 where unknown.
    """
    found = (aim * usual).clamp(LEAST, MOST)
    return torch.minimum(found, torch.where(now > 0, _AHEAD * aim * now, found)).clamp_min(LEAST)


def made(
    rule: Rule, base: tuple[float, float, float], there: tuple[bool, bool, bool], momentum: float, epoch: int
) -> Fixed:
    """The rule of that name. momentum: per measurement, or per step for averages of values. epoch: steps in one."""
    if rule == "balanced":
        return Balanced(base, there)
    if rule == "loss-statistics":
        return LossStatistics(base, there, momentum)
    if rule == "uncertainty":
        return Uncertainty(there)
    if rule == "gradnorm":
        return GradNorm(there, momentum)
    if rule == "dynamic-average":
        return DynamicAverage(there, max(1, epoch))
    return Fixed(base, there)

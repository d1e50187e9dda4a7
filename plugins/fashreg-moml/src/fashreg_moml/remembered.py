"""How much the pair objective against remembered rows moves the batch, and the weight that balances it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fashreg_moml.combination import held
from fashreg_moml.contribution import PROXY_ON_ROWS, Contribution, corrected, norm_on_rows


class Remembered(nn.Module):
    """Running mean of that norm, measured in calls of its own; all of it in buffers.

    A memory has more rows than a batch, and older ones, so the same pair objective pulls with another strength against
    them. calls: those in training so far. mean, latest: of the norms. seen: how many the mean has. kept: the weight as
    last renewed, 0 while it is not known.
    """

    calls: Tensor
    mean: Tensor
    latest: Tensor
    seen: Tensor
    kept: Tensor

    def __init__(self, every: int, momentum: float) -> None:
        super().__init__()
        self.every, self.momentum = every, momentum
        for name in ("mean", "latest", "kept"):
            self.register_buffer(name, torch.zeros(()))
        for name in ("calls", "seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def learn(self, value: Tensor, rows: Tensor, aim: Tensor, batch: Contribution) -> None:
        """Take in the value of a training step on rows (B, D); every so often measure it and renew the weight.

        aim (): contribution wanted, relative to the proxy objective's, whose norms `batch` knows. A norm of 0 says
        nothing.
        """
        if int(self.calls) % self.every == 0:
            norm = norm_on_rows(value, rows)
            with torch.no_grad():
                self._renew(norm.to(self.mean.dtype), aim, batch)
        self.calls.add_(1)

    def weight(self, otherwise: Tensor) -> Tensor:
        """The weight () now; `otherwise` while one of the norms was never seen."""
        return torch.where(self.kept > 0, self.kept, otherwise)

    def share(self, weight: Tensor, batch: Contribution, proxy: Tensor) -> Tensor:
        """Share () of these pairs in what they and the proxy objective, of weight `proxy`, do to the rows."""
        mine, other = weight * self.latest, proxy * batch.latest[PROXY_ON_ROWS]
        return torch.where(mine + other > 0, mine / (mine + other), 0.0)

    def _renew(self, norm: Tensor, aim: Tensor, batch: Contribution) -> None:
        real = torch.isfinite(norm) & (norm > 0)
        self.latest.copy_(torch.where(real, norm, 0.0))
        moved = self.momentum * self.mean + (1 - self.momentum) * norm
        self.mean.copy_(torch.where(real, moved, self.mean))
        self.seen.add_(real.long())
        usual = _over(batch.norms()[PROXY_ON_ROWS], corrected(self.mean, self.seen, self.momentum))
        now = _over(batch.latest[PROXY_ON_ROWS], self.latest)
        self.kept.copy_(torch.where(usual > 0, held(aim, usual, now), self.kept))


def _over(proxy: Tensor, pair: Tensor) -> Tensor:
    """How many times the one norm is the other; 0 where either is unknown."""
    return torch.where(pair > 0, proxy / pair.clamp_min(torch.finfo(pair.dtype).tiny), 0.0)

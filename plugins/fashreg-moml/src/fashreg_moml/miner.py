"""Which pairs are hard, by an anchor's relation to the other row and to the proxies together."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Mining = Literal["joint", "union", "intersection"]


class TwoRelationMiner:
    """Keeps the pairs that are hard for the anchor and for its proxy.

    With s_ij the cosine of two rows, t_ic that of a row and a proxy, and eta in 0..1:

        H+_ij = (1 - eta) s_ij + eta t_{j, y_i}                      low = hard
        H-_ij = (1 - eta) s_ij + eta (t_{j, y_i} + t_{i, y_j}) / 2   high = hard

    A negative stays if H-_ij > min_k H+_ik - epsilon, a positive if H+_ij < max_k H-_ik + epsilon. eta 0 is the miner
    of multi-similarity; eta 1 looks at proxies only.

    mining: "joint" as above; "union" keeps what is hard by rows alone or by proxies alone, "intersection" what is hard
    by both (eta then counts as 0 or not 0 only). virtual: an anchor without any positive gets its own proxy as one, at
    t_{i, y_i}.
    """

    def __init__(self, mining: Mining = "joint", epsilon: float = 0.1, virtual: bool = True) -> None:
        self.mining, self.epsilon, self.virtual = mining, epsilon, virtual

    @torch.no_grad()
    def __call__(
        self, s: Tensor, t: Tensor, positive: Tensor, negative: Tensor, eta: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks (B, B) of the positives and negatives that stay, and (B,) of the virtual positives that do.

        s (B, B): cosines of the rows. t (B, B): t_ij = cosine of row i and the proxy of row j's class. positive,
        negative: all pairs, as masks of 0 and 1.
        """
        lone = ~positive.bool().any(1) & self.virtual
        if self.mining == "joint" or eta == 0:
            return self._kept(s, t, positive.bool(), negative.bool(), lone, eta)
        rows, proxies = (self._kept(s, t, positive.bool(), negative.bool(), lone, side) for side in (0.0, 1.0))
        if self.mining == "union":
            return rows[0] | proxies[0], rows[1] | proxies[1], rows[2] | proxies[2]
        return rows[0] & proxies[0], rows[1] & proxies[1], rows[2] & proxies[2]

    def _kept(
        self, s: Tensor, t: Tensor, positive: Tensor, negative: Tensor, lone: Tensor, eta: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        near = torch.lerp(s, t.T, eta)
        far = torch.lerp(s, (t + t.T) / 2, eta)
        own = t.diagonal()
        farthest = torch.where(positive, near, torch.inf).amin(1)
        farthest = torch.where(lone, own, farthest)[:, None]
        nearest = torch.where(negative, far, -torch.inf).amax(1, keepdim=True)
        hard_own = lone & (own - self.epsilon < nearest[:, 0])
        return positive & (near - self.epsilon < nearest), negative & (far + self.epsilon > farthest), hard_own

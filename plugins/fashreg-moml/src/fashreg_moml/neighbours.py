"""Which classes lie near one another by their proxies, and how some of them are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fashreg.functional.similarity import unit_rows

_SCORES = 1 << 24  # similarities kept at a time when there are many


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest classes of each of C classes, nearest first.

    since: batch, counted over all epochs, from which on they hold. near: (C, top) int64. u: (C, top) float64, cosines.
    """

    since: int
    near: NDArray[np.int64]
    u: NDArray[np.float64]

    def drawn(self, seed: int, count: int, temperature: float, random: np.random.Generator) -> list[int]:
        """`count` different neighbours of class `seed` (fewer where there are no more), by softmax(u / temperature)."""
        logits = self.u[seed] / temperature
        order = np.argsort(-(logits + random.gumbel(size=len(logits))), kind="stable")  # sorted: without replacement
        found: list[int] = self.near[seed, order[:count]].tolist()
        return found

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint: numbers and tensors."""
        return {
            "since": self.since,
            "near": torch.from_numpy(self.near.astype(np.int32)),
            "u": torch.from_numpy(self.u),
        }

    @classmethod
    def from_dict(cls, state: Any) -> Neighbours:
        """The counterpart of `as_dict`."""
        near, u = (np.asarray(torch.as_tensor(state[name])) for name in ("near", "u"))
        return cls(int(state["since"]), near.astype(np.int64), u.astype(np.float64))


@torch.no_grad()
def nearest_classes(proxies: Tensor, top: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(C, top) nearest other classes and their cosines, nearest first; computed by blocks where the proxies are.

    proxies: (C, K, D); the cosine of two classes is the largest among their proxies. top is cut to C - 1.
    """
    classes, each, width = proxies.shape
    flat, top = unit_rows(proxies.float().reshape(-1, width)), min(top, classes - 1)
    size = max(1, _SCORES // (classes * each * each))
    near, u = [], []
    for start in range(0, classes, size):
        stop = min(start + size, classes)
        scores = (flat[start * each : stop * each] @ flat.T).view(-1, each, classes, each).amax((1, 3))
        scores[torch.arange(stop - start), torch.arange(start, stop)] = -torch.inf
        best = scores.topk(top, dim=1)
        near.append(best.indices.cpu())
        u.append(best.values.cpu())
    return torch.cat(near).numpy(), torch.cat(u).double().numpy()

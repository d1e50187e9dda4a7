"""Random whole numbers that are the same on every machine and with every version of every library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_MASK = (1 << 64) - 1


def _mixed(state: int) -> int:
    """SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014)."""
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


class Dice:
    """A stream of whole numbers; equal words, in equal order, begin equal streams.

    Args:
        words: whole numbers >= 0 that name the stream: the seed, the product, the view.
    """

    def __init__(self, *words: int) -> None:
        self.words = words
        self._state = 0x9E3779B97F4A7C15
        for word in words:
            self._state = _mixed((self._state ^ (word & _MASK)) + 0x9E3779B97F4A7C15 & _MASK)

    def below(self, end: int) -> int:
        """One of 0 .. end - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        return _mixed(self._state) * end >> 64

    def between(self, low: int, high: int) -> int:
        """One of low .. high."""
        return low + self.below(high - low + 1)

    def one_of(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[self.below(len(choices))]

    def chance(self, percent: int) -> bool:
        """True in so many of 100 cases."""
        return self.below(100) < percent


def noise(u: NDArray[np.integer[Any]], v: NDArray[np.integer[Any]], salt: int) -> NDArray[np.int32]:
    """A number 0..255 for each pair of cell coordinates, without visible order."""
    z = u.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + v.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    z = (z + np.uint64(salt)) * np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(29)
    z *= np.uint64(0x94D049BB133111EB)
    return (z >> np.uint64(56)).astype(np.int32)

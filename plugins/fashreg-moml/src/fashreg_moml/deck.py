"""A shuffled deck of cards without end: after each pass over all cards it is shuffled anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DECK = 2  # beside the seed: these generators are for decks


class Deck:
    """Card number n of an endless row is known from the seed and n alone, so nothing needs to be kept.

    Whoever is dealt the cards in order meets every card once in a pass. cards: (n,) what is on them, repeats allowed.
    """

    def __init__(self, cards: NDArray[np.int64], seed: int) -> None:
        self.cards, self.seed = cards, seed
        self._shuffled: dict[int, NDArray[np.int64]] = {}

    def dealt(self, start: int, count: int) -> list[int]:
        """Cards start .. start + count - 1 of the row."""
        numbers = range(start, start + count)
        return [int(self._pass(n // len(self.cards))[n % len(self.cards)]) for n in numbers]

    def _pass(self, number: int) -> NDArray[np.int64]:
        """All cards in the order of this pass; the newest two passes are remembered."""
        if number not in self._shuffled:
            random = np.random.default_rng([self.seed, number, 0, _DECK])
            self._shuffled = {k: v for k, v in self._shuffled.items() if abs(k - number) <= 1}
            self._shuffled[number] = random.permutation(self.cards)
        return self._shuffled[number]

"""What texts that are being written hold so far: keys and values of their tokens, in places that are made once."""

from __future__ import annotations

import torch
from torch import Tensor


class Written:
    """Keys and values of every layer, for G pictures with S texts each (beams; 1 for a single text).

    A place has S tokens of a picture, one of each text. All texts of a picture look over the tokens of all, and a mask
    says which are their own: so beams part and die without a key or value being moved.

    Args:
        layers: of the text tower.
        places: most tokens of a text, with its start.
        beams: S.
    """

    def __init__(self, layers: int, places: int, beams: int = 1) -> None:
        if min(layers, places, beams) < 1:
            raise ValueError(f"layers, places and beams must be at least 1, got {layers}, {places} and {beams}")
        self.places, self.beams = places, beams
        self.place = 0
        self._kept: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._own: Tensor | None = None

    def opened(self, tokens: Tensor) -> None:
        """The present place takes these tokens (G, S); to be called before the first layer."""
        if self.place >= self.places:
            raise ValueError(f"there is room for {self.places} tokens and no more")
        if self.beams == 1:
            return
        if self._own is None:
            self._own = tokens.new_zeros(len(tokens), 1, self.beams, self.places * self.beams, dtype=torch.bool)
        start = self.place * self.beams
        own = torch.eye(self.beams, dtype=torch.bool, device=tokens.device)
        self._own[..., start : start + self.beams] = own

    def put(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of the present place, (G, h, S, d / h); gives all so far, (G, h, S * (place + 1), d / h)."""
        kept = self._kept[layer]
        if kept is None:
            shape = (*keys.shape[:2], self.places * self.beams, keys.shape[3])
            kept = self._kept[layer] = keys.new_empty(shape), values.new_empty(shape)
        start, stop = self.place * self.beams, (self.place + 1) * self.beams
        for room, fresh in zip(kept, (keys, values), strict=True):
            room[:, :, start:stop] = fresh
        return kept[0][:, :, :stop], kept[1][:, :, :stop]

    @property
    def mask(self) -> Tensor | None:
        """(G, 1, S, S * (place + 1)) bool: which tokens are of a text's own past. None: all of them."""
        return None if self._own is None else self._own[..., : (self.place + 1) * self.beams]

    def go_on(self, parents: Tensor | None = None) -> None:
        """To the next place. parents: (G, S) int64, the text of its picture that each goes on from; None: itself."""
        self.place += 1
        if parents is not None and self._own is not None:
            self._own = self._own.gather(2, parents[:, None, :, None].expand_as(self._own))

    def keep(self, rows: Tensor) -> None:
        """Only these pictures (n,) int64 go on."""
        self._kept = [None if kept is None else (kept[0][rows], kept[1][rows]) for kept in self._kept]
        self._own = None if self._own is None else self._own[rows]

"""Texts to CLIP's byte-pair tokens and back; with fewer merges, for small vocabularies."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

#: Numbers of the whole vocabulary, and of one without any merge: 256 bytes, 256 that end a word, start and end.
WHOLE, LEAST = 49408, 514


class Tokens:
    """The first merges of CLIP's byte pairs: 512 bytes, the merges, start and end of a text.

    With all 49,408 it gives what open_clip's tokeniser gives. With fewer, a word falls into more pieces, and every text
    can still be written; number n < vocabulary - 2 is the same piece in both. The words of a text that spell a mark
    ("<end_of_text>") are left out.
    """

    def __init__(self, vocabulary: int = WHOLE) -> None:
        if not LEAST <= vocabulary <= WHOLE:
            raise ValueError(f"vocabulary must be {LEAST} to {WHOLE} tokens, not {vocabulary}")
        from open_clip.tokenizer import SimpleTokenizer

        self.vocabulary = vocabulary
        self.start, self.end = vocabulary - 2, vocabulary - 1
        pairs: Any = SimpleTokenizer()
        pieces = list(pairs.encoder)
        kept = [*pieces[: vocabulary - 2], *pieces[-2:]]
        pairs.encoder = {piece: number for number, piece in enumerate(kept)}
        pairs.decoder = dict(enumerate(kept))
        pairs.bpe_ranks = {pair: rank for pair, rank in pairs.bpe_ranks.items() if rank < vocabulary - LEAST}
        self._pairs = pairs

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """(B, length) int64: start, the text, end, zeros. What does not fit is cut off before the end."""
        if isinstance(texts, str):
            raise ValueError(f"texts is a list, not the single text {texts!r}: write [{texts!r}]")
        rows = torch.zeros(len(texts), length, dtype=torch.long)
        for row, text in enumerate(texts):
            pieces = [number for number in self._pairs.encode(text) if number < self.start]
            numbers = [self.start, *pieces[: length - 2], self.end]
            rows[row, : len(numbers)] = torch.tensor(numbers)
        return rows

    def cut(self, texts: Sequence[str], length: int) -> int:
        """How many of the texts `encode` would cut."""
        return sum(sum(number < self.start for number in self._pairs.encode(text)) > length - 2 for text in texts)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of tokens; marks of start and end are left out, bytes that are no text become U+FFFD."""
        text: str = self._pairs.decode([number for number in numbers if number < self.start])
        return text.strip()


@functools.lru_cache(maxsize=4)
def tokens_of(vocabulary: int) -> Tokens:
    """Tokens of that vocabulary, made once in a process."""
    return Tokens(vocabulary)

"""Captions as words, and the counts behind BLEU."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a caption: lower case, no punctuation.

    Unicode is brought to its compatibility form (NFKC) and typographic apostrophes to the plain one. A word is a run of
    letters and digits; a hyphen or an apostrophe within it stays ("v-neck", "women's"), everything else parts words.
    """
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").replace("‐", "-")
    return _WORD.findall(plain.lower())


def bleu_counts(written: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> tuple[Tensor, Tensor]:
    """What corpus BLEU adds up. written: (N,) words joined by blanks; references: for each, some of the same.

    Returns (N, n, 2) float64: for each order the n-grams that a reference has too (each at most as often as in the one
    that has it most often), and all n-grams; (N, 2) float64: words written, words of the reference of nearest length
    (of equally near ones, the shorter).
    """
    grams = torch.zeros(len(written), n, 2, dtype=torch.float64)
    lengths = torch.zeros(len(written), 2, dtype=torch.float64)
    for row, (text, others) in enumerate(zip(written, references, strict=True)):
        words, theirs = text.split(), [other.split() for other in others]
        near = min((abs(len(r) - len(words)), len(r)) for r in theirs)[1]
        lengths[row] = torch.tensor([float(len(words)), float(near)])
        for order in range(1, n + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for other in theirs:
                most |= _grams(other, order)
            own = _grams(words, order)
            grams[row, order - 1] = torch.tensor([float((own & most).total()), float(own.total())])
    return grams, lengths


def bleu_parts(written: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> Tensor:
    """(N,) float64: the part of each caption in corpus BLEU, which is their mean.

    BLEU = exp(min(0, 1 - r/c)) (prod_n m_n / t_n)^(1/N) is a function of sums over captions; by the delta method
    caption i has in it

        BLEU + N BLEU [ (1/4) sum_n (m_ni / m_n - t_ni / t_n) - (r_i / c - r c_i / c^2) ]      (the last where c < r)

    All 0 where some order has no match: BLEU is 0 then.
    """
    grams, lengths = bleu_counts(written, references, n)
    matched, made = grams.sum(0).unbind(1)
    count, wanted = lengths.sum(0).tolist()
    if not bool((matched > 0).all()):
        return torch.zeros(len(written), dtype=torch.float64)
    slope = (grams[:, :, 0] / matched - grams[:, :, 1] / made).mean(1)
    brevity = 0.0
    if count < wanted:
        brevity = 1 - wanted / count
        slope = slope - (lengths[:, 1] / count - wanted * lengths[:, 0] / count**2)
    value = torch.exp(brevity + (matched / made).log().mean())
    return value * (1 + len(written) * slope)


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))

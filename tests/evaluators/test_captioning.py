"""Captions: words, BLEU's parts, and the numbers of the package against formulas written out."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from typing import Any

import pytest
import torch

from fashreg.errors import RequirementError
from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.functional.captions import bleu_counts, bleu_parts, words_of
from fashreg.functional.uncertainty import bootstrap_intervals
from fashreg.testing.evaluator_words import captions

Lines = list[str]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red, V-neck dress.", ["a", "red", "v-neck", "dress"]),
        ("Women's coat -- 100 % wool!", ["women's", "coat", "100", "wool"]),
        ("Don’t: “blue”_green", ["don't", "blue", "green"]),
        ("ＦＵＬＬ width, café", ["full", "width", "café"]),
        (" ... ", []),
    ],
)
def test_words_are_lower_case_without_punctuation(text: str, words: Lines) -> None:
    assert words_of(text) == words


def grams(words: Lines, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def plain_bleu(written: list[Lines], references: list[list[Lines]]) -> float:
    """Corpus BLEU-4 by its definition."""
    logs, c, r = 0.0, 0, 0
    for n in range(1, 5):
        matched = total = 0
        for words, theirs in zip(written, references, strict=True):
            for gram, count in grams(words, n).items():
                matched += min(count, max(grams(t, n)[gram] for t in theirs))
                total += count
        if not matched:
            return 0.0
        logs += math.log(matched / total) / 4
    for words, theirs in zip(written, references, strict=True):
        c += len(words)
        r += min((abs(len(t) - len(words)), len(t)) for t in theirs)[1]
    return math.exp(logs + min(0.0, 1 - r / c))


def plain_cider(written: list[Lines], references: list[list[Lines]]) -> float:
    """CIDEr-D by its definition (Vedantam et al., section 5)."""
    count, scores = len(references), []
    frequency: Counter[tuple[str, ...]] = Counter()
    for theirs in references:
        frequency.update({gram for t in theirs for n in range(1, 5) for gram in grams(t, n)})

    def vector(words: Lines, n: int) -> dict[tuple[str, ...], float]:
        weight = {g: math.log(count) - math.log(max(1.0, frequency[g])) for g in grams(words, n)}
        return {g: c * weight[g] for g, c in grams(words, n).items()}

    for words, theirs in zip(written, references, strict=True):
        total = 0.0
        for other in theirs:
            penalty = math.exp(-((len(words) - len(other)) ** 2) / (2 * 6.0**2))
            for n in range(1, 5):
                a, b = vector(words, n), vector(other, n)
                lengths = math.sqrt(sum(x * x for x in a.values())) * math.sqrt(sum(x * x for x in b.values()))
                product = sum(min(a[g], b[g]) * b[g] for g in a if g in b)
                total += penalty * (product / lengths if lengths else 0.0)
        scores.append(10 * total / 4 / len(theirs))
    return sum(scores) / count


def longest(a: Lines, b: Lines) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest(a[:-1], b[:-1])
    row = [0] * (len(b) + 1)
    for x in a:
        before = list(row)
        for j, y in enumerate(b):
            row[j + 1] = before[j] + 1 if x == y else max(before[j + 1], row[j])
    return row[-1]


def plain_rouge(written: list[Lines], references: list[list[Lines]]) -> float:
    scores = []
    for words, theirs in zip(written, references, strict=True):
        precision = max(longest(words, t) / max(1, len(words)) for t in theirs)
        recall = max(longest(words, t) / len(t) for t in theirs)
        found = precision and recall
        scores.append((1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision) if found else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("seed", range(4))
def test_the_package_computes_what_the_definitions_say(seed: int) -> None:
    written, references = captions(seed)
    found = CaptioningEvaluator()(written, references)
    ours, theirs = [words_of(t) for t in written], [[words_of(t) for t in others] for others in references]
    assert found["bleu@4"] == pytest.approx(plain_bleu(ours, theirs), abs=1e-6)
    assert found["rouge_l"] == pytest.approx(plain_rouge(ours, theirs))
    assert found["cider"] == pytest.approx(plain_cider(ours, theirs))
    assert found["mean"] == pytest.approx(sum(found[n] for n in ("bleu@4", "rouge_l", "cider")) / 3)


def test_case_and_punctuation_do_not_matter() -> None:
    written, references = captions(0)
    loud = [f"{text.upper()}!" for text in written]
    assert CaptioningEvaluator()(loud, references) == CaptioningEvaluator()(written, references)


def test_the_mean_of_four_is_that_of_the_papers() -> None:
    """The golden row of FIC: (30.73 + 25.04 + 55.83 + 150.4) / 4 = 65.50."""
    numbers = {"bleu@4": 0.3073, "meteor": 0.2504, "rouge_l": 0.5583, "cider": 1.504}
    assert round(100 * sum(numbers.values()) / 4, 2) == 65.50


def test_bleu_counts_by_hand() -> None:
    """ "a a b" against "a b c" and "a c": one a is clipped; a b matches; the nearer length is 3."""
    grams_, lengths = bleu_counts(["a a b"], [["a b c", "a c"]], n=2)
    assert grams_[0].tolist() == [[2, 3], [1, 2]]
    assert lengths[0].tolist() == [3, 3]


def test_parts_of_bleu_have_the_spread_of_drawing_captions_again() -> None:
    pairs: Any = [captions(seed) for seed in range(12)]
    written = [" ".join(words_of(t)) for w, _ in pairs for t in w]
    references = [[" ".join(words_of(t)) for t in others] for _, r in pairs for others in r]
    parts = bleu_parts(written, references)
    low, high = bootstrap_intervals(parts[:, None])[0].tolist()
    counts, lengths = bleu_counts(written, references)
    random, draws = torch.Generator().manual_seed(0), []
    for _ in range(1000):
        rows = torch.randint(0, len(written), (len(written),), generator=random)
        matched, made = counts[rows].sum(0).unbind(1)
        c, r = lengths[rows].sum(0).tolist()
        draws.append(float(torch.exp((matched / made).log().mean() + min(0.0, 1 - r / c))))
    plain = torch.tensor(draws).quantile(torch.tensor([0.025, 0.975])).tolist()
    assert [low, high] == pytest.approx(plain, abs=0.01)
    assert bleu_parts(["a b"], [["c d"]]).tolist() == [0.0]


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequirementError, match=r"pip install 'fashreg\[captions\]'"):
        CaptioningEvaluator()


def test_references_are_lists_of_texts() -> None:
    with pytest.raises(ValueError, match=r"write \['a coat'\]"):
        CaptioningEvaluator()(["a coat"], ["a coat"])

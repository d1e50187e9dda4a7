"""Seeded faults: evaluators of classes and captions that are wrong in one way each, and the test that notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from seeded_faults import failing_tests
from torch import Tensor

from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.evaluators.classification import ClassificationEvaluator
from fashreg.testing.evaluator_words import CaptionsContract, ClassesContract

References = Sequence[Sequence[str]]


class Classes(ClassificationEvaluator):
    """Sound."""


class CountsUnknown(Classes):
    """Rows of unknown class count as wrong."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        found = super().__call__(logits, labels)
        return {**found, "accuracy": found["accuracy"] * float((labels >= 0).double().mean())}


class EveryClass(Classes):
    """Macro F1 is divided by all classes, those that do not occur too."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        found = super().__call__(logits, labels)
        occur = len({*logits.argmax(1)[labels >= 0].tolist(), *labels[labels >= 0].tolist()})
        return {**found, "macro_f1": found["macro_f1"] * occur / logits.shape[1]}


class LastOfEqual(Classes):
    """Of equal logits the last class answers."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        return super().__call__(logits.double() + 1e-12 * torch.arange(logits.shape[1]), labels)


class Percent(Classes):
    """Numbers up to 100."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        return {name: 100 * value for name, value in super().__call__(logits, labels).items()}


class Nothing(Classes):
    """Nothing to measure gives 0."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        if not bool((labels >= 0).any()):
            return {"accuracy": 0.0, "macro_f1": 0.0, "mean": 0.0}
        return super().__call__(logits, labels)


class Spoils(Classes):
    """Writes into the logits."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        found = super().__call__(logits, labels)
        logits.zero_()
        return found


class Thresholds(Classes):
    """A class answers only with a logit above 0."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        return super().__call__(logits.clamp(min=0), labels)


class OtherRows(Classes):
    """Before the mean, macro F1 is that of accuracy."""

    def per_query(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = super().per_query(logits, labels)
        return {**found, "macro_f1": found["accuracy"]}


class SmallestWins(Classes):
    """The class with the smallest logit answers."""

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        return super().__call__(-logits, labels)


class Captions(CaptioningEvaluator):
    """Sound."""


class InPercent(Captions):
    """BLEU up to 100."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        found = super().__call__(written, references)
        return {**found, "bleu@4": 100 * found["bleu@4"]}


class LastReference(Captions):
    """Only the last reference counts."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        return super().__call__(written, [others[-1:] for others in references])


class LeavesOutEmpty(Captions):
    """Empty captions are left out."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        kept = [(text, others) for text, others in zip(written, references, strict=True) if text]
        if written and not written[0]:
            kept = [(others[0], others) for _, others in kept]
        return super().__call__([text for text, _ in kept], [others for _, others in kept])


class NothingWritten(Captions):
    """Nothing to measure gives 0."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        return super().__call__(written, references) if written else {"bleu@4": 0.0}


class Shortest(Captions):
    """What has no partner is forgotten."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        return super().__call__(written[: len(references)], references)


class Sorts(Captions):
    """The references are sorted in place."""

    def __call__(self, written: Sequence[str], references: Any) -> dict[str, float]:
        found = super().__call__(written, references)
        for others in references:
            others.sort()
        return found


class FirstWeighsMore(Captions):
    """The first caption counts twice."""

    def __call__(self, written: Sequence[str], references: References) -> dict[str, float]:
        return super().__call__([*written, *written[:1]], [*references, *references[:1]])


class OtherMeans(Captions):
    """Before the mean, BLEU is ROUGE."""

    def per_query(self, written: Sequence[str], references: References) -> dict[str, Tensor]:
        found = super().per_query(written, references)
        return {**found, "bleu@4": found["rouge_l"]}


SUITES = {ClassesContract: Classes, CaptionsContract: Captions}
FAULTS = [(suite, fault) for suite, sound in SUITES.items() for fault in sound.__subclasses__()]


@pytest.mark.parametrize("suite", list(SUITES))
def test_a_sound_evaluator_passes(suite: Any) -> None:
    assert not failing_tests(suite, "evaluator", SUITES[suite])


@pytest.mark.parametrize(("suite", "fault"), FAULTS)
def test_the_suite_notices(suite: Any, fault: Any) -> None:
    assert failing_tests(suite, "evaluator", fault), fault.__doc__


@pytest.mark.parametrize("suite", list(SUITES))
def test_every_contract_test_notices_some_fault(suite: Any) -> None:
    seen = set().union(*(failing_tests(suite, "evaluator", fault) for kind, fault in FAULTS if kind is suite))
    assert seen == {name for name in dir(suite) if name.startswith("test_")}

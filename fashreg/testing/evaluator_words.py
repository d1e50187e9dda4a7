"""The contracts of evaluators that judge what a model says: classes and captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fashreg.testing.evaluator_cases import same_numbers

Texts = tuple[list[str], list[list[str]]]


def answers(seed: int, rows: int = 40, classes: int = 7) -> tuple[Tensor, Tensor]:
    """Random logits (N, C), right more often than by chance, and labels (N,), some of them unknown."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, classes - 1, (rows,), generator=random)  # the last class never occurs
    logits = torch.randn(rows, classes, generator=random)
    return logits + 1.5 * torch.nn.functional.one_hot(labels.clamp(min=0), classes), labels


def plain_class_number(name: str, logits: Tensor, labels: Tensor) -> float | None:
    """The metric of that name by counting; None for a name that has none here."""
    rows = [(row.tolist(), label) for row, label in zip(logits, labels.tolist(), strict=True) if label >= 0]
    ordered = [(sorted(range(len(x)), key=lambda c: (-x[c], c)), label) for x, label in rows]
    if name == "macro_f1":
        told, true = [order[0] for order, _ in ordered], [label for _, label in ordered]
        scores: list[float] = []
        for one in {*told, *true}:
            both = sum(a == b == one for a, b in zip(told, true, strict=True))
            scores.append(2 * both / (told.count(one) + true.count(one)))
        return sum(scores) / len(scores)
    kind, _, cut = name.partition("@")
    if kind != "accuracy":
        return None
    return sum(label in order[: int(cut or 1)] for order, label in ordered) / len(ordered)


class ClassesContract:
    """Override `evaluator` with one that judges "classes"."""

    @pytest.fixture
    def evaluator(self) -> Any:
        """An evaluator."""
        raise NotImplementedError("override the fixture `evaluator`")

    def test_it_says_what_it_judges_and_reports_its_primary_as_fractions(self, evaluator: Any) -> None:
        numbers = evaluator(*answers(0))
        assert evaluator.judges == "classes"
        assert evaluator.primary in numbers
        assert all(type(name) is str and type(value) is float and 0 <= value <= 1 for name, value in numbers.items())

    @pytest.mark.parametrize("seed", range(4))
    def test_a_known_name_means_what_it_says(self, evaluator: Any, seed: int) -> None:
        logits, labels = answers(seed, rows=12 + 9 * seed, classes=3 + seed)
        for name, value in evaluator(logits, labels).items():
            wanted = plain_class_number(name, logits, labels)
            assert wanted is None or math.isclose(value, wanted, abs_tol=1e-9), f"{name} is {value}, and not {wanted}"

    def test_right_answers_score_one_and_wrong_ones_least(self, evaluator: Any) -> None:
        logits, labels = answers(1)
        right = torch.nn.functional.one_hot(labels.clamp(min=0), logits.shape[1]).float()
        numbers = [evaluator(x, labels)[evaluator.primary] for x in (right, logits, -right)]
        assert math.isclose(numbers[0], 1.0)
        assert numbers[0] > numbers[1] > numbers[2]

    def test_rows_of_unknown_class_do_not_count(self, evaluator: Any) -> None:
        logits, labels = answers(2)
        known = labels >= 0
        assert same_numbers(evaluator(logits, labels), evaluator(logits[known], labels[known]))

    def test_nothing_to_measure_is_an_error_and_not_a_number(self, evaluator: Any) -> None:
        with pytest.raises(ValueError, match="class"):
            evaluator(torch.zeros(3, 2), torch.full((3,), -1))

    def test_it_is_pure(self, evaluator: Any) -> None:
        logits, labels = answers(3)
        kept = logits.clone(), labels.clone()
        first = evaluator(logits, labels)
        evaluator(*answers(4))
        assert evaluator(logits, labels) == first
        assert torch.equal(kept[0], logits)
        assert torch.equal(kept[1], labels)

    def test_neither_the_order_of_rows_nor_the_scale_of_a_row_matters(self, evaluator: Any) -> None:
        logits, labels = answers(5)
        scale = torch.linspace(0.5, 3, len(labels))[:, None]
        first = evaluator(logits, labels)
        assert same_numbers(first, evaluator(logits.flip(0), labels.flip(0)))
        assert same_numbers(first, evaluator(scale * logits - 7 * scale, labels))

    def test_of_equal_logits_the_first_class_answers(self, evaluator: Any) -> None:
        labels = torch.tensor([0, 0, 1])
        flat, first = torch.zeros(3, 4), torch.tensor([[1.0, 0, 0, 0]]).repeat(3, 1)
        names = [name for name in evaluator(flat, labels) if plain_class_number(name, flat, labels) is not None]
        one, other = evaluator(flat, labels), evaluator(first, labels)
        assert all(math.isclose(one[n], other[n], abs_tol=1e-12) for n in names)

    def test_the_mean_over_rows_is_the_metric(self, evaluator: Any) -> None:
        logits, labels = answers(6)
        numbers = evaluator(logits, labels)
        columns = evaluator.per_query(logits, labels) if hasattr(evaluator, "per_query") else {}
        for name, column in columns.items():
            assert column.isnan().tolist() == (labels < 0).tolist(), f"{name} counts other rows than those of a class"
            assert math.isclose(float(column.nanmean()), numbers[name], abs_tol=1e-9), name


def captions(seed: int) -> Texts:
    """Twelve captions with one to three references each, some of them near."""
    random = torch.Generator().manual_seed(seed)
    kinds, colours = ["dress", "shirt", "coat"], ["red", "blue", "green", "black"]
    written, references = [], []
    for row in range(12):
        kind, colour = kinds[row % 3], colours[int(torch.randint(4, (1,), generator=random))]
        true = f"a long {colour} {kind} with two pockets and a collar made of wool number {row}"
        others = [true, f"the {kind} that is {colour} and long", f"{colour} {kind} in wool with a collar and pockets"]
        references.append(others[: 1 + row % 3])
        near = true.split()
        keep = int(torch.randint(5, len(near), (1,), generator=random))
        written.append(" ".join([*near[:keep], "for", "evenings"][: keep + row % 3]))
    return written, references


class CaptionsContract:
    """Override `evaluator` with one that judges "captions"."""

    @pytest.fixture
    def evaluator(self) -> Any:
        """An evaluator."""
        raise NotImplementedError("override the fixture `evaluator`")

    def test_it_says_what_it_judges_and_stays_within_its_ranges(self, evaluator: Any) -> None:
        numbers = evaluator(*captions(0))
        ranges = getattr(evaluator, "ranges", {})
        assert evaluator.judges == "captions"
        assert evaluator.primary in numbers
        for name, value in numbers.items():
            low, high = ranges.get(name, (0.0, 1.0))
            assert type(value) is float
            assert low <= value <= high, f"{name} is {value}"

    def test_what_people_wrote_scores_most_and_something_else_least(self, evaluator: Any) -> None:
        written, references = captions(1)
        best, worst = [others[0] for others in references], ["nothing of that kind"] * len(written)
        numbers = [evaluator(texts, references)[evaluator.primary] for texts in (best, written, worst)]
        assert numbers[0] > numbers[1] > numbers[2]
        found = evaluator(best, references)
        assert all(math.isclose(found[n], 1.0, abs_tol=1e-6) for n in ("bleu@4", "rouge_l") if n in found)

    def test_an_empty_caption_is_a_bad_caption_and_no_error(self, evaluator: Any) -> None:
        written, references = captions(2)
        numbers = evaluator(["", *written[1:]], references)
        assert all(math.isfinite(value) for value in numbers.values())
        assert numbers[evaluator.primary] < evaluator(written, references)[evaluator.primary]

    def test_nothing_to_measure_is_an_error_and_not_a_number(self, evaluator: Any) -> None:
        with pytest.raises(ValueError, match="caption"):
            evaluator([], [])
        with pytest.raises(ValueError, match="reference"):
            evaluator(["a coat"], [[]])

    def test_captions_and_references_come_in_equal_numbers(self, evaluator: Any) -> None:
        written, references = captions(3)
        with pytest.raises(ValueError, match="reference"):
            evaluator(written, references[:-1])

    def test_it_is_pure(self, evaluator: Any) -> None:
        written, references = captions(4)
        kept = list(written), [list(others) for others in references]
        first = evaluator(written, references)
        evaluator(*captions(5))
        assert evaluator(written, references) == first
        assert (written, references) == kept

    def test_the_order_of_captions_does_not_matter(self, evaluator: Any) -> None:
        written, references = captions(6)
        turned: tuple[Sequence[str], Sequence[Sequence[str]]] = (written[::-1], references[::-1])
        assert same_numbers(evaluator(written, references), evaluator(*turned))

    def test_the_mean_over_captions_is_the_metric(self, evaluator: Any) -> None:
        written, references = captions(7)
        numbers = evaluator(written, references)
        columns = evaluator.per_query(written, references) if hasattr(evaluator, "per_query") else {}
        for name, column in columns.items():
            assert column.shape == (len(written),)
            assert math.isclose(float(column.mean()), numbers[name], abs_tol=1e-6), name

"""Accuracy and macro F1 against scikit-learn, and what lies behind them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

from fashreg.evaluators.classification import ClassificationEvaluator
from fashreg.functional.classification import f1_by_class, first_largest, macro_f1_parts
from fashreg.functional.uncertainty import bootstrap_intervals


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_f1_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, answers = (torch.tensor(column) for column in zip(*pairs, strict=True))
    logits = torch.nn.functional.one_hot(answers, 6).float()
    found = ClassificationEvaluator()(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, answers))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro", zero_division=0))
    assert found["mean"] == pytest.approx((found["accuracy"] + found["macro_f1"]) / 2)
    parts = macro_f1_parts(answers, labels, torch.ones(len(labels), dtype=torch.bool))
    assert float(parts.mean()) == pytest.approx(found["macro_f1"])


def test_accuracy_at_k_is_scikit_learns() -> None:
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(80, 9, generator=random), torch.randint(0, 9, (80,), generator=random)
    found = ClassificationEvaluator(ks=(1, 3))(logits, labels)
    assert found["accuracy@1"] == found["accuracy"]
    assert found["accuracy@3"] == pytest.approx(top_k_accuracy_score(labels, logits, k=3, labels=range(9)))


def test_a_case_by_hand() -> None:
    """labels a a b c, answers a b b b: F1 of a = 2/3 (TP 1, FN 1), of b = 2/4 (TP 1, FP 2), of c = 0."""
    labels, answers = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 1])
    classes, f1 = f1_by_class(answers, labels)
    assert classes.tolist() == [0, 1, 2]
    assert f1.tolist() == pytest.approx([2 / 3, 1 / 2, 0.0])
    assert ClassificationEvaluator()(torch.eye(3)[answers], labels)["macro_f1"] == pytest.approx(7 / 18)


def test_intervals_of_macro_f1_are_those_of_drawing_rows_again() -> None:
    """The linear parts against drawing rows and computing F1 each time."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (300,), generator=random)
    answers = torch.where(
        torch.rand(300, generator=random) < 0.7, labels, torch.randint(0, 4, (300,), generator=random)
    )
    parts = macro_f1_parts(answers, labels, torch.ones(300, dtype=torch.bool))
    low, high = bootstrap_intervals(parts[:, None])[0].tolist()
    draws = []
    for _ in range(1000):
        rows = torch.randint(0, 300, (300,), generator=random)
        draws.append(float(f1_by_class(answers[rows], labels[rows])[1].mean()))
    plain = torch.tensor(draws).quantile(torch.tensor([0.025, 0.975])).tolist()
    assert [low, high] == pytest.approx(plain, abs=0.012)


def test_of_equal_logits_the_first_class_answers() -> None:
    assert first_largest(torch.tensor([[1.0, 3, 3], [2, 2, 2], [0, 1, 5]])).tolist() == [1, 0, 2]


def test_what_is_no_logits_is_refused() -> None:
    evaluator = ClassificationEvaluator()
    with pytest.raises(ValueError, match="beyond the 2 classes"):
        evaluator(torch.zeros(1, 2), torch.tensor([2]))
    with pytest.raises(ValueError, match="NaN"):
        evaluator(torch.full((1, 2), torch.nan), torch.tensor([0]))
    with pytest.raises(ValueError, match="go together"):
        evaluator(torch.zeros(2, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match="ks must be 1"):
        ClassificationEvaluator(ks=(0,))

"""Which class a picture is of: accuracy and macro F1."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fashreg.functional import classification as c


class ClassificationEvaluator:
    """Accuracy, macro F1 and their mean, of the class with the largest logit.

    With TP, FP, FN counted for each class c that occurs, as a label or as an answer,

        accuracy   (1/N) sum_i [answer_i = label_i]
        macro_f1   (1/C) sum_c 2 TP_c / (2 TP_c + FP_c + FN_c)
        mean       of the two

    which is scikit-learn's accuracy_score and f1_score(average="macro"). Of equal logits the first class answers.
    A row whose label is below 0 (a class that training did not have) is left out; where nothing is left, ValueError.

    Source: Han et al., "FAME-ViL", CVPR 2023, https://arxiv.org/abs/2303.02483 (sub-category recognition)

    See also: fashreg.functional.classification.

    Args:
        ks: further cut-offs: `accuracy@5` is the share of rows whose class is among the five largest logits.
    """

    primary = "mean"
    judges = "classes"

    def __init__(self, ks: tuple[Annotated[int, Field(gt=0)], ...] = ()) -> None:
        self.ks = tuple(ks)
        if any(k < 1 for k in self.ks):
            raise ValueError(f"ks must be 1 or larger, got {self.ks}")

    def per_query(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """(N,) float64 by name, whose mean over what is not NaN is the metric; NaN for a row that does not count.

        macro F1 is no mean over rows: each row has the part that it has in the whole, so these may leave 0..1.
        """
        answers, counted = c.answered(logits, labels)
        found = {
            "accuracy": c.correct(answers, labels, counted),
            "macro_f1": c.macro_f1_parts(answers, labels, counted),
        }
        found["mean"] = (found["accuracy"] + found["macro_f1"]) / 2
        return {**found, **{f"accuracy@{k}": c.correct_within(logits, labels, counted, k) for k in self.ks}}

    def __call__(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """logits: (N, C) float. labels: (N,) int64, 0..C-1, or negative for rows that do not count."""
        answers, counted = c.answered(logits, labels)
        accuracy = float(c.correct(answers, labels, counted)[counted].mean())
        macro = float(c.f1_by_class(answers[counted], labels[counted])[1].mean())
        found = {"accuracy": accuracy, "macro_f1": macro, "mean": (accuracy + macro) / 2}
        within = {f"accuracy@{k}": c.correct_within(logits, labels, counted, k) for k in self.ks}
        return {**found, **{name: float(torch.nanmean(column)) for name, column in within.items()}}

"""Accuracy and F1 of the class with the largest logit, row by row. Exact, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def answered(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) int64: the class with the largest logit, the first of equal ones; (N,) bool: the rows that count.

    logits: (N, C) float. labels: (N,) int64 below C; negative: the row does not count. ValueError where none does, or a
    logit is NaN.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or labels.dtype.is_floating_point:
        raise ValueError(
            f"logits (N, C) and integer labels (N,) go together, got {tuple(logits.shape)} and {labels.dtype} "
            f"{tuple(labels.shape)}"
        )
    if len(labels) and int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"the label {int(labels.max())} is beyond the {logits.shape[1]} classes of the logits")
    if bool(logits.isnan().any()):
        raise ValueError("the logits hold NaN")
    counted = labels >= 0
    if not bool(counted.any()):
        raise ValueError(f"none of the {len(labels)} rows has a known class: there is nothing to measure")
    return first_largest(logits), counted


def first_largest(logits: Tensor) -> Tensor:
    """(N,) int64: the first column that holds the row's largest value."""
    columns = torch.arange(logits.shape[1], device=logits.device)
    return torch.where(logits == logits.amax(1, keepdim=True), columns, logits.shape[1]).amin(1)


def correct(answers: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """(N,) float64: 1 where the answer is the label, else 0; NaN for a row that does not count."""
    return torch.where(counted, (answers == labels).double(), torch.nan)


def correct_within(logits: Tensor, labels: Tensor, counted: Tensor, k: int) -> Tensor:
    """(N,) float64: 1 where the label is among the k largest logits, of equal ones the first classes; else 0."""
    own = labels.clamp(min=0)[:, None]
    value = logits.gather(1, own)
    columns = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > value) | ((logits == value) & (columns < own))
    return torch.where(counted, (ahead.sum(1) < k).double(), torch.nan)


def f1_by_class(answers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Classes that occur as a label or an answer, ascending (C',) int64, and the F1 of each (C',) float64.

    F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall. answers, labels: (N,) int64.
    """
    classes, found, size = _counts(answers, labels)
    return classes, 2 * found / size


def macro_f1_parts(answers: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """(N,) float64, NaN for rows that do not count: the part of each row in macro F1, which is their mean.

    F1_c = 2 TP_c / S_c with S_c = 2 TP_c + FP_c + FN_c, the number of rows labelled c plus that of rows answered c.
    Row i adds dTP_ic to the one and dS_ic to the other, so by the delta method it has in the mean over C' classes

        macro + N/C' sum_c (2 dTP_ic - F1_c dS_ic) / S_c,

    and sum_i (2 dTP_ic - F1_c dS_ic) = 2 TP_c - F1_c S_c = 0. The variance of the parts is that of macro F1.
    """
    given, true = answers[counted], labels[counted]
    classes, found, size = _counts(given, true)
    f1 = 2 * found / size
    of_label, of_answer = torch.searchsorted(classes, true), torch.searchsorted(classes, given)
    share = (2.0 * (given == true) - f1[of_label]) / size[of_label] - f1[of_answer] / size[of_answer]
    parts = torch.full(labels.shape, torch.nan, dtype=torch.float64, device=labels.device)
    parts[counted] = f1.mean() + len(true) / len(classes) * share
    return parts


def _counts(answers: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Classes that occur, TP of each, and how often each is a label or an answer, all (C',)."""
    classes, place = torch.unique(torch.cat([labels, answers]), return_inverse=True)
    size = torch.bincount(place, minlength=len(classes)).double()
    found = torch.bincount(place[: len(labels)][labels == answers], minlength=len(classes)).double()
    return classes, found, size

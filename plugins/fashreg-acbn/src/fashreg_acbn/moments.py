"""First and second moments of a batch, and how many independent rows it is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.similarity import full_precision, widen


@dataclass(frozen=True, slots=True)
class Moments:
    """mean, std: (D,), per dimension, population form (divided by the number of rows).

    effective: 1..B, the number of independent rows whose mean would be as uncertain as this batch's; NaN when a row is
    not finite.
    """

    mean: Tensor
    std: Tensor
    effective: float


def batch_moments(vectors: Tensor, labels: Tensor) -> Moments:
    """Moments of rows (B, D), B >= 1, with labels (B,); in fp32 or wider whatever the rows are.

    A batch of P classes with K images each is a sample of P clusters. Rows of one class resemble one another, and the
    mean of the batch is less certain than that of B independent rows. With S_c the sum of the centred rows of class c
    and C classes, V = C / (C - 1) sum_c |S_c|^2 / B^2 estimates the variance of the batch's mean, and s^2 + V that of a
    row (s^2 the batch's own variance), both summed over the dimensions:

        effective = (s^2 + V) / V

    It is B where all labels differ, C where the rows of a class are equal, B / (1 + (K - 1) rho) on the average where
    they have correlation rho; 1 for a single class.
    """
    rows = widen(vectors.detach())
    mean = rows.mean(0)
    centred = rows - mean
    variance = (centred * centred).mean(0)
    same = (labels[:, None] == labels).to(rows.dtype)
    with full_precision(rows):
        products = centred @ centred.T
    together = torch.dot(products.view(-1), same.view(-1))  # sum over the classes of |S_c|^2
    numbers = torch.stack((variance.sum(), together, same.sum(1).reciprocal().sum())).tolist()
    return Moments(mean, variance.sqrt(), _worth(len(rows), *numbers))


def _worth(b: int, own: float, together: float, classes: float) -> float:
    c = round(classes)
    if not math.isfinite(own):
        return math.nan
    if c < 2:
        return 1.0
    uncertain = together / b**2 * c / (c - 1)
    return min(max((own + uncertain) / uncertain, 1.0), float(b)) if uncertain > 0 else float(c)


def small_sample_factor(n: float) -> float:
    """What the population std of n independent Gaussian rows must be multiplied with to be right on the average.

    1 / (sqrt(1 - 1/n) c4(n)) with c4(n) = 4 (n - 1) / (4 n - 3), which is within 0.3 % of the exact ratio of gamma
    functions; n below 2 counts as 2.
    """
    n = max(n, 2.0)
    return math.sqrt(n / (n - 1.0)) * (4.0 * n - 3.0) / (4.0 * n - 4.0)

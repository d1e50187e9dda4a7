"""First and second moments of a batch, and how many independent rows it is worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fashreg.functional.similarity import full_precision, widen


@dataclass(frozen=True, slots=True)
class Moments:
    """mean, std: (D,), per dimension, population form (divided by the number of rows).

    effective: scalar in 1..B, the number of independent rows whose mean would be as uncertain as this batch's.
    """

    mean: Tensor
    std: Tensor
    effective: Tensor


@torch.no_grad()
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
    b = len(rows)
    mean = rows.mean(0)
    centred = rows - mean
    variance = centred.square().mean(0)
    same = (labels[:, None] == labels).to(rows.dtype)
    classes = same.sum(1).reciprocal().sum()
    with full_precision(rows):
        together = (same * (centred @ centred.T)).sum() / b**2
    uncertain = together * classes / (classes - 1.0).clamp_min(0.5)
    own = variance.sum()
    worth = torch.where(uncertain > 0, (own + uncertain) / uncertain, classes)
    worth = torch.where(classes > 1.5, worth.clamp(1.0, float(b)), 1.0)
    return Moments(mean, variance.sqrt(), worth)


def small_sample_factor(n: Tensor) -> Tensor:
    """What the population std of n independent Gaussian rows must be multiplied with to be right on the average.

    1 / (sqrt(1 - 1/n) c4(n)) with c4(n) = 4 (n - 1) / (4 n - 3), which is within 0.3 % of the exact ratio of gamma
    functions; n below 2 counts as 2.
    """
    n = n.clamp_min(2.0)
    return (n / (n - 1.0)).sqrt() * ((4.0 * n - 3.0) / (4.0 * n - 4.0))

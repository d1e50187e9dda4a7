"""Slow, obvious losses for the memory's tests: one Python loop per pair, straight from the definitions."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.values import Embedded


def contrastive(batch: Embedded, references: Embedded | None = None) -> Tensor:
    """Mean over anchors of: sum of (1 - s) over positives + sum of s over negatives with s > 0.5."""
    others = batch if references is None else references
    total = batch.vectors.sum() * 0
    for i in range(len(batch)):
        for j in range(len(others)):
            if batch.ids[i] == others.ids[j] and batch.ids[i] >= 0:
                continue
            s = batch.vectors[i] @ others.vectors[j].to(batch.vectors.dtype)
            if batch.labels[i] == others.labels[j]:
                total = total + 1 - s
            elif s > 0.5:
                total = total + s
    return total / len(batch)


def multi_similarity(batch: Embedded, references: Embedded | None = None, beta: float = 50.0) -> Tensor:
    """Unmined: mean over anchors of log(1 + sum_pos e^(-2 (s - .5))) / 2 + log(1 + sum_neg e^(b (s - .5))) / b."""
    others = batch if references is None else references
    total = batch.vectors.sum() * 0
    for i in range(len(batch)):
        positive, negative = torch.zeros(()), torch.zeros(())
        for j in range(len(others)):
            if batch.ids[i] == others.ids[j] and batch.ids[i] >= 0:
                continue
            s = batch.vectors[i] @ others.vectors[j].to(batch.vectors.dtype) - 0.5
            if batch.labels[i] == others.labels[j]:
                positive = positive + torch.exp(-2 * s)
            else:
                negative = negative + torch.exp(beta * s)
        total = total + torch.log1p(positive) / 2 + torch.log1p(negative) / beta
    return total / len(batch)

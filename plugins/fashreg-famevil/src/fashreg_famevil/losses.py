"""The four tasks' losses and their distillation, on logits and embeddings: no model, no gathering."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fashreg_famevil.towers import valid_tokens


def matching_logits(rows: Tensor, columns: Tensor, scale: Tensor | float) -> Tensor:
    """a^2 cos(x_i, y_j) of rows (B, E) and columns (N, E); scale: a, so that 1 / a^2 is the temperature. (B, N)"""
    return (scale * F.normalize(rows, dim=1)) @ (scale * F.normalize(columns, dim=1)).T


def matching_loss(logits: Tensor, *, both_ways: bool = True) -> Tensor:
    """Cross-entropy of the diagonal of (B, B) logits, over rows, and over columns too: the mean of the two.

    Retrieval between pictures and texts looks both ways; a query with a text looks for its target only.
    """
    target = torch.arange(len(logits), device=logits.device)
    loss = F.cross_entropy(logits, target)
    return (loss + F.cross_entropy(logits.T, target)) / 2 if both_ways else loss


def caption_targets(tokens: Tensor, *, count_padding: bool = False) -> Tensor:
    """(B, N) tokens -> (B, N - 1) what each position should say next, -100 after the first end of text.

    count_padding: every position counts, as in the published code, where padding is the end token again.
    """
    following = tokens[:, 1:]
    return following if count_padding else following.masked_fill(~valid_tokens(tokens)[:, 1:], -100)


def caption_loss(logits: Tensor, tokens: Tensor, *, count_padding: bool = False) -> Tensor:
    """Mean cross-entropy of the next token. logits (B, N, V) of all positions; the last one says nothing."""
    targets = caption_targets(tokens, count_padding=count_padding)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())


def distillation(student: Tensor, teacher: Tensor, counts: Tensor | None = None) -> Tensor:
    """Cross-entropy of the student's soft-max (..., V) under the teacher's, the mean over rows. No gradient goes to it.

    It is KL(teacher || student) and the teacher's entropy, a constant. counts (...,) bool: rows that count; None: all.
    """
    each = -(teacher.detach().softmax(dim=-1) * student.log_softmax(dim=-1)).sum(dim=-1)
    return each.mean() if counts is None else each[counts].sum() / counts.sum().clamp_min(1)


def matching_distillation(student: Tensor, teacher: Tensor, *, both_ways: bool = True) -> Tensor:
    """`distillation` of (B, B) matching logits over rows, and over columns too: the mean of the two."""
    loss = distillation(student, teacher)
    return (loss + distillation(student.T, teacher.T)) / 2 if both_ways else loss

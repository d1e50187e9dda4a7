"""The four tasks' losses and their distillation, on logits and embeddings: no model, no gathering."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fashreg_famevil.towers import valid_tokens


def matching_logits(rows: Tensor, columns: Tensor, scale: Tensor | float) -> Tensor:
    """a^2 cos(x_i, y_j) of rows (B, E) and columns (N, E); scale: a, so that 1 / a^2 is the temperature. (B, N)"""
    return (scale * F.normalize(rows, dim=1)) @ (scale * F.normalize(columns, dim=1)).T


def without_doubles(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, B) matching logits where a pair of equal labels (B,) that is not the own one can no longer be chosen.

    Two views of one product are no wrong answer to each other. Such a place is very low, and not minus infinity, so
    that it may stand in a teacher's logits too.
    """
    doubles = labels[:, None] == labels
    doubles.fill_diagonal_(False)
    return logits.masked_fill(doubles, torch.finfo(logits.dtype).min / 4)


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


def distillation(student: Tensor, teacher: Tensor, counts: Tensor | None = None, *, detached: bool = True) -> Tensor:
    """Cross-entropy of the student's soft-max (..., V) under the teacher's, the mean over rows.

    It is KL(teacher || student) and the teacher's entropy, a constant: no gradient goes to the teacher (but for
    detached = False). counts (...,) bool: rows that count; None: all.
    """
    wanted = (teacher.detach() if detached else teacher).softmax(dim=-1)
    each = -(wanted * student.log_softmax(dim=-1)).sum(dim=-1)
    return each.mean() if counts is None else each[counts].sum() / counts.sum().clamp_min(1)


def matching_distillation(student: Tensor, teacher: Tensor, *, both_ways: bool = True) -> Tensor:
    """`distillation` of (B, B) matching logits over rows, and over columns too: the mean of the two."""
    loss = distillation(student, teacher)
    return (loss + distillation(student.T, teacher.T)) / 2 if both_ways else loss


def published_matching_distillation(
    student: Tensor,
    rows: tuple[Tensor, Tensor],
    columns: tuple[Tensor, Tensor],
    scales: tuple[Tensor | float, Tensor | float],
    *,
    masked: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> Tensor:
    """As the published code has it for pictures and texts; for comparison only, `matching_distillation` is meant.

    There the teacher's rows are set against the student's columns (and its columns against the student's rows), and
    the gradient flows through these targets: a student that agrees with its teacher is still moved.

    student: (B, B) its matching logits. rows, columns: (B, E) of the student and of the teacher. scales: a of both.
    masked: what was done to the student's logits (`without_doubles`), for the targets too.
    """
    (mine, theirs), (my_columns, their_columns) = rows, columns
    a, b = scales
    across = masked(matching_logits(theirs.detach(), my_columns, 1.0) * (a * b))
    back = masked(matching_logits(their_columns.detach(), mine, 1.0) * (a * b))
    return (distillation(student, across, detached=False) + distillation(student.T, back, detached=False)) / 2

"""The softmax of InfoNCE over given partners: row i of one side belongs to row i of the other."""

from __future__ import annotations

import torch
from torch import Tensor

from fashreg.functional.log_sums import log_sum
from fashreg.functional.pairs import PairCodes
from fashreg.functional.similarity import scores, with_gradient
from fashreg.values import Embedded


@torch.no_grad()
def candidates(
    batch: Embedded, references: Embedded, *, both_sides: bool, mask_same_value: bool, dtype: torch.dtype
) -> Tensor:
    """1 where a row may be chosen: (B, B), or (2B, 2B) over both sides. The partner always; never an equal id else."""
    b = len(batch)
    if both_sides:
        labels = torch.cat([batch.labels.long(), references.labels.long()])
        ids = torch.cat([batch.ids.long(), references.ids.long()])
        codes = PairCodes.of(Embedded(labels.new_zeros(2 * b, 1, dtype=dtype), labels, ids), dtype=dtype)
    else:
        codes = PairCodes.of(batch, references.labels, references.ids, dtype=dtype)
    positive, negative = codes.masks()
    out = negative if mask_same_value else negative.add_(positive)
    partner = torch.arange(b, device=out.device)
    if both_sides:
        out[partner, partner + b] = out[partner + b, partner] = 1
    else:
        out[partner, partner] = 1
    return out


def partner_loss(
    left: Tensor,
    right: Tensor,
    allowed: Tensor,
    scale: Tensor | float,
    *,
    symmetric: bool,
    both_sides: bool,
    bounded: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Value and parts. left, right: (B, D) rows; allowed: from `candidates`; scale: 1 / temperature, may be learnt."""
    if both_sides:
        x = scores(torch.cat([left, right.to(left.dtype)]) * scale**0.5)
    else:
        x = scores(left * scale, right)
    with torch.no_grad():
        form = _both_sides if both_sides else _other_side
        near, far, weights = form(x, allowed, symmetric, bounded)
    return with_gradient(x, near + far, weights), {"positive": near, "candidates": far}


def _both_sides(x: Tensor, allowed: Tensor, symmetric: bool, bounded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x (2B, 2B): the row of i's partner is i + B, or i - B."""
    b = len(x) // 2
    anchors = torch.arange(2 * b if symmetric else b, device=x.device)
    partners, divisor = (anchors + b) % max(1, 2 * b), max(1, len(anchors))
    log, weights = log_sum(x.clone(), allowed, plus_one=False, bounded=bounded)
    weights[len(anchors) :] = 0
    weights[anchors, partners] -= 1
    return -x[anchors, partners].sum() / divisor, log[: len(anchors)].sum() / divisor, weights.div_(divisor)


def _other_side(x: Tensor, allowed: Tensor, symmetric: bool, bounded: bool) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, B): the partner of row i is column i, and the other way round."""
    divisor = max(1, len(x))
    log, weights = log_sum(x.clone(), allowed, plus_one=False, bounded=bounded)
    far = log.sum() / divisor
    if symmetric:
        log, more = log_sum(x.clone(), allowed, plus_one=False, dim=0, bounded=bounded)
        far, weights = (far + log.sum() / divisor) / 2, weights.add_(more).div_(2)
    weights.diagonal().sub_(1)
    return -x.diagonal().sum() / divisor, far, weights.div_(divisor)

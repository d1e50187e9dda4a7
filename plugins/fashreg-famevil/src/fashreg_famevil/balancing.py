"""Which task comes next, and what happens to gradients of several: schedules, adaptive scales, impartial mixing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def shares(sizes: Mapping[str, int], how: str) -> dict[str, float]:
    """How often each task is drawn: "size-proportional" to its rows, or "uniform". They add up to 1."""
    if how == "uniform":
        return {task: 1 / len(sizes) for task in sizes}
    if how != "size-proportional":
        raise ValueError(f'how must be "size-proportional" or "uniform", got {how!r}')
    total = sum(sizes.values())
    return {task: size / total for task, size in sizes.items()}


def order_of(lengths: Mapping[str, int], how: str, seed: Sequence[int]) -> list[str]:
    """The tasks of an epoch in which each has `lengths` batches. Every batch of every task comes exactly once.

    "round-robin": in turn, tasks that have run out are passed over. "size-proportional": each left batch is as likely
    to be next. "uniform": each task with a batch left is as likely to be next.
    """
    left = {task: number for task, number in lengths.items() if number}
    if how == "size-proportional":
        deck = [task for task, number in left.items() for _ in range(number)]
        return [deck[place] for place in np.random.default_rng(seed).permutation(len(deck))]
    random, order = np.random.default_rng(seed), []
    while left:
        turn = list(left)
        if how == "uniform":
            turn = [turn[int(random.integers(len(turn)))]]
        elif how != "round-robin":
            raise ValueError(f'how must be "size-proportional", "uniform" or "round-robin", got {how!r}')
        for task in turn:
            order.append(task)
            left[task] -= 1
            if not left[task]:
                del left[task]
    return order


#: What a kind of task is scored by, and the score that counts as reached.
SCORES: dict[str, tuple[str, float]] = {
    "cross-modal": ("mean_recall", 0.7),
    "composed": ("mean_recall", 0.6),
    "classification": ("macro_f1", 0.9),
    "captioning": ("bleu@4", 0.4),
}


def measured_scales(
    metrics: Mapping[str, float], kinds: Mapping[str, str], bases: Mapping[str, float] | None = None
) -> dict[str, float]:
    """`adaptive_scales` from what an evaluation gave ("TASK/METRIC"; of a single task also "METRIC").

    kinds: task -> kind. bases: where they differ from those of SCORES. Tasks that were not measured are left out.
    """
    scores, reached = {}, {}
    for task, kind in kinds.items():
        name, base = SCORES[kind]
        score = metrics.get(f"{task}/{name}", metrics.get(name) if len(kinds) == 1 else None)
        if score is not None and not math.isnan(score):
            scores[task], reached[task] = float(score), (bases or {}).get(task, base)
    return adaptive_scales(scores, reached) if scores else {}


def adaptive_scales(scores: Mapping[str, float], bases: Mapping[str, float]) -> dict[str, float]:
    """Implicit adaptive scheduling: what the gradient of shared weights is multiplied by, for each task.

    With r_k = score_k / base_k, r the mean and m the largest of them:

        scale_k = 1 + sign(r - r_k) min(1/2, m^64 |r - r_k|)        sign = +1 only where positive, else -1

    Source: as found in the code of Han et al., FAME-ViL, CVPR 2023; after Jean, Firat, Johnson, "Adaptive Scheduling
        for Multi-Task Learning", 2019, https://arxiv.org/abs/1909.06434
    """
    reached = {task: score / bases[task] for task, score in scores.items()}
    mean, most = sum(reached.values()) / len(reached), max(reached.values())
    steep = min(most, 1e4) ** 64  # beyond that it is the limit anyway, and the power more than a float holds
    return {task: 1 + (1 if mean > r else -1) * min(0.5, steep * abs(mean - r)) for task, r in reached.items()}


def impartial(gradients: Sequence[Tensor]) -> Tensor:
    """IMTL-G: the mix sum_i alpha_i g_i, sum_i alpha_i = 1, that projects equally on every task's gradient direction.

    gradients: one of each task for the same parameter, of equal shape; those that are 0 take no part. One left: itself.
    None left: 0. A scalar parameter: the mean.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021 (IMTL-G); taken tensor by tensor,
        as by Han et al., FAME-ViL, CVPR 2023
    """
    left = [g for g in gradients if bool(g.any())]
    if not left:
        return torch.zeros_like(gradients[0])
    if len(left) == 1:
        return left[0]
    if left[0].numel() == 1:
        return torch.stack(left).mean(dim=0)
    g = torch.stack([x.flatten() for x in left]).double()
    u = g / g.norm(dim=1, keepdim=True)
    d, v = g[:1] - g[1:], u[:1] - u[1:]
    system = d @ v.T
    if int(torch.linalg.matrix_rank(system)) < len(system):
        system = system + 1e-8 * torch.eye(len(system), dtype=g.dtype, device=g.device)
    rest = torch.linalg.solve(system, g[:1] @ v.T, left=False)
    alpha = torch.cat([1 - rest.sum(dim=1, keepdim=True), rest], dim=1)
    return (alpha @ g).view_as(left[0]).to(left[0].dtype)

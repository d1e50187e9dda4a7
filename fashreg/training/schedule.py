"""The learning rate as a pure function of the step, so that nothing about it needs to be kept in a checkpoint."""

from __future__ import annotations

import bisect
import math

from fashreg.config_trainer import TrainerConfig


def total_steps(config: TrainerConfig, batches_per_epoch: int) -> int:
    """Optimiser steps of the whole training: `epochs`, cut by `max_steps`; a last short accumulation is a step too."""
    steps = config.epochs * steps_per_epoch(config, batches_per_epoch)
    return steps if config.max_steps is None else min(steps, config.max_steps)


def steps_per_epoch(config: TrainerConfig, batches_per_epoch: int) -> int:
    """Optimiser steps of one epoch."""
    return math.ceil(batches_per_epoch / config.accumulate)


def lr_factor(config: TrainerConfig, step: int, total: int, per_epoch: int) -> float:
    """What the learning rate is multiplied with at optimiser step `step` (counted from 0) of `total`.

    Warm-up over w steps: (step + 1) / w, so that the first step already learns and step w - 1 has the full rate; from
    a share f: f + (1 - f) step / w. Then cosine: (1 + cos(pi (step - w) / (total - w))) / 2; or step: step_factor **
    (epoch // step_epochs), or ** (how many of step_at are done).
    """
    warmup = config.warmup_steps or round(config.warmup_share * total)
    if step < warmup:
        start = config.warmup_from
        return start + (1.0 - start) * step / warmup if start else (step + 1) / warmup
    if config.schedule == "cosine":
        share = (step - warmup) / max(1, total - warmup)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
    if config.schedule == "step":
        done = (
            bisect.bisect_right(config.step_at, step)
            if config.step_at
            else step // per_epoch // (config.step_epochs or 1)
        )
        return float(config.step_factor**done)
    return 1.0

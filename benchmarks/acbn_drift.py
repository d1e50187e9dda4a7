"""Which process variance q follows a drift best, where the true drift is known? Drawn embeddings, no network.

Rows are those of 500 classes (correlation 0.5 within a class), D = 64. The embedding of step t is s_t * x + m_t: mean
and log-spread of every dimension walk at random by `speed` row-stds a step, all through ("steady") or fading by a
cosine as a learning rate does ("fading"). That is the drift that matching moments can undo whole. Batches are
class-balanced, four rows a class; the memory holds 1,024 rows, stored as they come (placement "raw"). Reported, over
steps 100 to 400 and the seeds, is the mean squared distance of the rows as the loss reads them from where the present
embedding puts them, as a share of that of rows left alone: 0 drift undone, 1 nothing gained, above 1 harm.

    python benchmarks/acbn_drift.py [--seeds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import torch
from fashreg_acbn.memory import ACBNMemory

from fashreg.values import Embedded

D, M, CLASSES, EACH, STEPS = 64, 1024, 500, 4, 400
SPEEDS, BATCHES = (0.01, 0.03, 0.1), (16, 64)
ARMS = {f"q = {q:g}": {"q": q} for q in (1e-3, 1e-2, 1e-1, 1.0)} | {
    "principled, q = 0.001": {"noise": "principled", "q": 1e-3},
    "principled, q = 0.01": {"noise": "principled", "q": 1e-2},
    "xbn": {"kind": "xbn"},
    "xbn-plain": {"kind": "xbn", "unbiased": False, "min_effective": 1.0},
}


def left(seed: int, batch: int, speed: float, fading: bool) -> dict[str, float]:
    """The share of the squared distance that each arm leaves."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, D, generator=random) / math.sqrt(2)
    memories = {
        name: ACBNMemory(M, embed_dim=D, start_step=0, placement="raw", drift_every=0, **options)
        for name, options in ARMS.items()
    }
    inputs = torch.zeros(M, D)  # what stands in each slot before the network
    mean, spread = torch.zeros(D), torch.zeros(D)
    unmoved, moved = 0.0, dict.fromkeys(ARMS, 0.0)
    plain = torch.zeros(M, D)
    for step in range(STEPS):
        pace = speed * (0.5 * (1 + math.cos(math.pi * step / STEPS)) if fading else 1.0)
        mean = mean + pace * torch.randn(D, generator=random)
        spread = spread + pace * torch.randn(D, generator=random)
        labels = torch.randperm(CLASSES, generator=random)[: batch // EACH].repeat_interleave(EACH)
        x = centres[labels] + torch.randn(batch, D, generator=random) / math.sqrt(2)
        ids = torch.arange(batch) + batch * step
        now = Embedded(x * spread.exp() + mean, labels, ids)
        for memory in memories.values():
            memory.align(now)
        held = min(M, batch * step)
        if step >= STEPS // 4 and step % 10 == 0:
            truth = inputs[:held] * spread.exp() + mean
            unmoved += float((plain[:held] - truth).square().sum(1).mean())
            for name, memory in memories.items():
                moved[name] += float((memory.read().vectors - truth).square().sum(1).mean())
        slots = ids % M
        inputs[slots], plain[slots] = x, now.vectors
        for memory in memories.values():
            memory.push(now)
    return {name: value / unmoved for name, value in moved.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cells = [(batch, fading, speed) for batch in BATCHES for fading in (False, True) for speed in SPEEDS]
    rows = {}
    for batch, fading, speed in cells:
        runs = [left(seed, batch, speed, fading) for seed in range(options.seeds)]
        name = f"B {batch}, {'fading' if fading else 'steady'}, speed {speed:g}"
        rows[name] = {arm: [run[arm] for run in runs] for arm in ARMS}
        print(
            name, *(f"{arm}: {statistics.mean(values):.2f}" for arm, values in rows[name].items()), sep="  ", flush=True
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Does the training loop keep the network busy? Images per second of the whole loop (files, decoding, augmentation,
batches, loss, log, step) against the same network stepping again and again on one batch that is already there.

The two take turns in one process. The aim is a ratio of at least 0.9.

    python benchmarks/training_loop.py --data FOLDER [--steps 40] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from products import add_data_argument, table_of

import fashreg
from fashreg.jobs.training import check
from fashreg.training.allocator import keep_freed_memory
from fashreg.values import Embedded


def loop_rate(table: Path, steps: int) -> float:
    """Images per second of the steps, as the run itself counts them."""
    run = fashreg.train(
        "fashion-products", table=table, data={"label": "style", "test_split": "none"}, quiet=True,
        trainer={"epochs": 9, "max_steps": steps, "batch_size": 64, "freeze_batch_norm": True},
    )  # fmt: skip
    return run.report.images_per_second


def step_rate(table: Path, steps: int) -> float:
    """The same network, loss and optimiser on one batch in memory."""
    plan = check("fashion-products", table=table, data={"label": "style", "test_split": "none"})
    encoder, loss = plan.parts.encoder, plan.parts.loss
    encoder.train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = torch.randn(64, 3, *encoder.input_spec.size).contiguous(memory_format=torch.channels_last)
    batch: Any = {"labels": torch.arange(64) // 4, "ids": torch.arange(64)}
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4)
    start = 0.0
    for step in range(steps + 3):
        if step == 3:
            start = time.perf_counter()
        value = loss(Embedded(encoder(images), **batch, unit=True))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return 64 * steps / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = table_of(options.data)
    keep_freed_memory()
    rows = []
    print(f"{'round':>5}{'whole loop':>14}{'cached batch':>14}{'ratio':>8}   images/s, batches of 64 at 128 px")
    for number in range(options.rounds):
        loop, cached = loop_rate(table, options.steps), step_rate(table, options.steps)
        rows.append({"loop": loop, "cached": cached, "ratio": loop / cached})
        print(f"{number:>5}{loop:>14.1f}{cached:>14.1f}{loop / cached:>8.2f}", flush=True)
    print(f"median ratio {statistics.median(r['ratio'] for r in rows):.2f} (aim: at least 0.9)")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

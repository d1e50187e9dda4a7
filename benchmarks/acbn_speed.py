"""What does a memory that follows the drift cost, beside one that does not, in time and in memory?

A step is align, read, loss with backward, push, with B = 64 unit rows (16 classes of 4, drawn anew) on a full memory of
M rows whose embedding drifts a little at every step. Arms:

    xbm       fashreg's plain cross-batch memory
    acbn      fashreg-acbn's: the rows moved to the filtered moments of the batches, as an affine map
    in place  the same update done the plain way: moments of all rows taken, all rows rewritten, at every step
    dense     xbm's rows under the loss in plain torch: one B x M product, masks, autograd's backward
    peer      pytorch-metric-learning's CrossBatchMemory (told that rows are unit; "peer, as it comes" normalises them)
    floor     two products with every row read once, tile by tile, and nothing else: no loss can be faster

Every cell (loss, M, D) runs in a process of its own; within it the arms take turns in an order drawn anew every round.
Times are the least and the median of the rounds; the time of acbn holds its share of writing the rows out, which is due
once in so many turns of the ring and is timed by itself. Peak memory is the rise of the resident set over three steps,
in one more process for each arm, above what is there when the memory is full; "state" is what the memory itself keeps.
xbm, dense and peer must give one number, acbn and "in place" another (checked).

    python benchmarks/acbn_speed.py [--quick] [--rounds N] [--losses L...] [--no-memory | --no-times] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from acbn_steps import ARMS, CLASSES, LOSSES, B, Steps
from fashreg_acbn.memory import _TURNS
from measuring import facts, rise
from torch import nn

from fashreg.training.allocator import keep_freed_memory
from fashreg.values import Embedded


def peak_of(loss: str, m: int, d: int, arm: str) -> dict[str, float]:
    """In a process of its own: MiB by which three steps raise the resident set, and what the memory keeps."""
    Steps(loss, 256, d, (arm,)).step(arm)  # the libraries are warm
    steps = Steps(loss, m, d, (arm,))
    peak = rise(lambda: steps.step(arm))
    kept: nn.Module = steps.memories.get(arm) or steps.peers[arm]
    state = sum(buffer.numel() * buffer.element_size() for buffer in kept.buffers())
    return {"peak_mib": peak, "state_mib": state / 2**20}


def check(steps: Steps) -> None:
    """The arms must compute the same numbers. The peer's memory holds the batch itself before the loss; so here."""
    values = {arm: float(steps.step(arm)) for arm in ARMS if steps.has(arm)}
    twin = Steps(steps.loss, steps.m, steps.d, ("xbm",))
    rows, labels = next(twin.batches["xbm"])
    batch = Embedded(rows, labels, torch.arange(B), unit=True)
    twin.memories["xbm"].push(batch)
    values["xbm, pushed first"] = float(twin.make(batch, twin.memories["xbm"].read()))
    for pair in (("xbm", "dense"), ("xbm, pushed first", "peer"), ("acbn", "in place")):
        one, other = (values.get(arm, values[pair[0]]) for arm in pair)
        if abs(one - other) > 2e-4 * (1 + abs(one)):
            raise SystemExit(f"{steps.loss}, M = {steps.m}: {pair[0]} gives {one}, {pair[1]} gives {other}")


def times_of(loss: str, m: int, d: int, rounds: int, seconds: float) -> dict[str, Any]:
    """In a process of its own: milliseconds of every arm, and of acbn's writing out of its rows for each step."""
    steps = Steps(loss, m, d, ARMS)
    arms = [arm for arm in ARMS if steps.has(arm)]
    check(steps)
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    shuffle, started = random.Random(0), time.perf_counter()
    for turn in range(rounds + 2):
        if turn > 4 and time.perf_counter() - started > seconds:
            break
        for arm in shuffle.sample(arms, len(arms)):  # so that no arm always finds the cache as another left it
            steps.step(arm)  # untimed: the arm's own rows are in the cache, as they are in a loop of nothing else
            start = time.perf_counter()
            steps.step(arm)
            if turn > 1:
                times[arm].append(1000 * (time.perf_counter() - start))
    memory, rewriting = steps.memories["acbn"], []
    for _ in range(4):
        start = time.perf_counter()
        memory._rebase()
        rewriting.append(1000 * (time.perf_counter() - start) * B / (m * _TURNS))
    share = min(rewriting)
    return {
        arm: {"least_ms": min(t) + share * (arm == "acbn"), "median_ms": statistics.median(t) + share * (arm == "acbn")}
        for arm, t in times.items()
    } | {"rewriting_ms": share}


def cell(loss: str, m: int, d: int, options: argparse.Namespace) -> dict[str, Any]:
    def in_its_own(*job: str) -> Any:
        command = [sys.executable, __file__, "--cell", loss, str(m), str(d), *job, "--rounds", str(options.rounds)]
        command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
        command += ["--plain-allocator"] if options.plain_allocator else []
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    row: dict[str, Any] = {"loss": loss, "M": m, "D": d, **({} if options.no_times else in_its_own("times"))}
    for arm in ARMS[:-1]:
        if not options.no_memory and not (arm.startswith("peer") and loss.endswith("per anchor")):
            row[arm] = {**row.get(arm, {}), **in_its_own(arm)}
    show(row)
    return row


def show(row: dict[str, Any]) -> None:
    def number(arm: str, key: str) -> str:
        return f"{row[arm][key]:8.2f}" if key in row.get(arm, {}) else f"{'-':>8}"

    def ratio(arm: str, other: str, key: str) -> str:
        there = key in row.get(arm, {}) and key in row.get(other, {})
        return f"{row[arm][key] / row[other][key]:7.2f}" if there else f"{'-':>7}"

    times = "".join(number(arm, "least_ms") for arm in ARMS)
    ratios = ratio("acbn", "xbm", "least_ms") + ratio("acbn", "xbm", "median_ms") + ratio("acbn", "dense", "least_ms")
    ratios += ratio("acbn", "peer", "least_ms") + ratio("acbn", "floor", "least_ms")
    peaks = "".join(number(arm, "peak_mib") for arm in ARMS[:-1]) + number("acbn", "state_mib")
    print(f"{row['M']:6d}{row['D']:5d} {row['loss']:24}{times} |{ratios} |{peaks}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="M = 4k and 16k, few rounds")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[4096, 16384, 65536], metavar="M")
    parser.add_argument("--widths", nargs="+", type=int, default=[128, 512], metavar="D")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20.0, help="a cell's rounds end after so many, five at least")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--no-times", action="store_true", help="memory only")
    parser.add_argument("--plain-allocator", action="store_true", help="let glibc give freed memory back")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cell", nargs=4, metavar=("LOSS", "M", "D", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.cell:
        keep_freed_memory(not options.plain_allocator)  # for every arm alike
        loss, m, d, job = options.cell[0], int(options.cell[1]), int(options.cell[2]), options.cell[3]
        found = times_of(loss, m, d, options.rounds, options.seconds) if job == "times" else peak_of(loss, m, d, job)
        print(json.dumps(found))
        return
    if options.quick:
        options.sizes, options.seconds = options.sizes[:2], 3.0
    kept = not options.plain_allocator and keep_freed_memory()
    more = {"freed memory kept": kept, "B": B, "classes": CLASSES, "date": time.strftime("%Y-%m-%d")}
    about = facts(options.threads, **more)
    print(f"{'':36}{'least milliseconds':^56} |{'acbn divided by':^35} |{'peak MiB above the state':^48}{'state':>8}")
    heads = ("xbm", "acbn", "in place", "dense", "peer", "p. as is", "floor")
    print(f"{'M':>6}{'D':>5} {'loss':24}" + "".join(f"{head:>8}" for head in heads) + " |"
          + "".join(f"{head:>7}" for head in ("xbm", "median", "dense", "peer", "floor")) + " |"
          + "".join(f"{head:>8}" for head in (*heads[:-1], "acbn")))  # fmt: skip
    rows = [cell(loss, m, d, options) for loss in options.losses for m in options.sizes for d in options.widths]
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

"""How long from raw pictures to recall@1 0.57 and 0.60 on the test styles: fashreg, and a plain script with
pytorch-metric-learning?

Every arm starts from the same JPEG files, ImageNet weights, input size (128 px) and embedding width (128), on the same
threads and with the same allocator setting (freed memory is kept, for the peer too). The clock runs from the first
file; judging (every few steps, by the same code) is not counted, and an arm ends when it reaches the last goal. Arms
take turns, a fresh process each. A dash: not reached within the arm's steps.

    python benchmarks/time_to_quality.py --data FOLDER [--seeds 0 1 2] [--arms NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peer_script import BATCH, Enough, Watch, judged_pictures, peer_head, peer_whole
from products import add_data_argument, recall_at_1, table_of

import fashreg
from fashreg.data.table import Table
from fashreg.learners.standard import StandardLearner

GOALS = (0.57, 0.60)
EVERY, EARLY = 10, 40  # steps between two looks, halved in the first EARLY steps


def tables(table: Path) -> tuple[Table, Table]:
    columns = {"label": "style"}
    return fashreg.read_table(table, columns, split="train"), fashreg.read_table(table, columns, split="test")


def judged_by(test: Table) -> Callable[[torch.Tensor], float]:
    labels = torch.from_numpy(test.labels)
    return lambda vectors: recall_at_1(vectors, labels)


def fashreg_arm(table: Path, seed: int, **changes: Any) -> Watch:
    """The shipped recipe, with a learner that looks at the test split now and then."""
    test = tables(table)[1]
    pictures, judge = judged_pictures(test), judged_by(test)
    watch = Watch(EVERY, GOALS[-1], EARLY)

    class Watched(StandardLearner):
        def stepped(self, step: int) -> None:
            watch.look(step, lambda: judge(seen_by(self.session.encoder)))

    def seen_by(encoder: Any) -> torch.Tensor:
        with encoder.evaluating(), torch.inference_mode():
            return torch.cat([encoder(part) for part in pictures.split(BATCH)])

    watch.start = time.perf_counter()
    data = {"label": "style", "test_split": "none"}
    with contextlib.suppress(Enough):
        fashreg.train("fashion-products", table=table, data=data, seed=seed, learner=Watched(), quiet=True, **changes)
    return watch


def peer_arm(table: Path, seed: int, run: Callable[..., None], **settings: Any) -> Watch:
    """The plain script (peer_script.py)."""
    train, test = tables(table)
    watch = Watch(EVERY, GOALS[-1], EARLY)
    run(train, test, seed, watch, judged_by(test), **settings)
    return watch


HEAD = {"freeze": "backbone", "cache": "features", "epochs": 5, "lr": 3e-3, "head_lr_factor": 1, "warmup_steps": 0}
ARMS: dict[str, Callable[[Path, int], Watch]] = {
    "fashreg, head on cached features": lambda t, s: fashreg_arm(t, s, trainer=HEAD),
    "fashreg, recipe fashion-products": lambda t, s: fashreg_arm(t, s),
    "peer, head on cached features": lambda t, s: peer_arm(t, s, peer_head, lr=3e-3, epochs=5),
    "peer, whole, multi-similarity": lambda t, s: peer_arm(t, s, peer_whole, kind="ms", lr=1e-3, epochs=3),
    "peer, whole, contrastive + memory": lambda t, s: peer_arm(t, s, peer_whole, kind="xbm", lr=3e-4, epochs=3),
    "peer, whole, our settings": lambda t, s: peer_arm(t, s, peer_whole, kind="ours", lr=3e-4, epochs=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    table = table_of(options.data)
    if options.one:
        watch = ARMS[options.one[0]](table, int(options.one[1]))
        print(json.dumps({"curve": watch.curve, "reached": [watch.reached(goal) for goal in GOALS]}))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.arms}
    for seed in options.seeds:
        for name in options.arms:
            command = [sys.executable, __file__, "--data", str(options.data), "--one", name, str(seed)]
            with tempfile.TemporaryDirectory() as cache:  # nothing kept from an earlier run
                environment = {**os.environ, "FASHREG_CACHE": cache}
                done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            found[name].append({"seed": seed, **json.loads(done.stdout.splitlines()[-1])})
            best = max(recall for _, recall in found[name][-1]["curve"])
            times = "  ".join(seconds_text(t) for t in found[name][-1]["reached"])
            print(f"{name:<36} seed {seed}   seconds to {GOALS}: {times}   best {best:.3f}", flush=True)
    print(f"\n{'median seconds to recall@1':<36}" + "".join(f"{goal:>9.2f}" for goal in GOALS))
    for name, runs in found.items():
        row = [[r["reached"][i] for r in runs] for i in range(len(GOALS))]
        print(f"{name:<36}" + "".join(f"{seconds_text(median(times)):>9}" for times in row))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def median(times: list[float | None]) -> float | None:
    """The median, None when at least half of the seeds never got there."""
    reached = sorted(t if t is not None else float("inf") for t in times)
    middle = statistics.median_high(reached)
    return None if middle == float("inf") else middle


def seconds_text(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"


if __name__ == "__main__":
    main()

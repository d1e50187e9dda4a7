"""What does scoring a batch against a large memory cost, in time and in memory?

Arms, at M remembered rows: ours (a ring tensor of references under our losses, scored block by block), the plain dense
floor (one B x M product, pointwise work, autograd's backward, in plain torch) and pytorch-metric-learning's
CrossBatchMemory. A step writes the batch into the ring, then runs forward and backward. Arms take turns within one
process, in an order drawn anew every round, for the times (least milliseconds of the rounds); peak memory is the rise
of the resident set over three steps in a process of its own, above what is there when the memory is full and the
libraries are warm. All arms of a row give the same number (checked). Every batch holds 16 classes of 4, drawn anew.

    python benchmarks/memory_scoring_speed.py [--quick] [--threads N] [--rounds N] [--classes C] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dense_losses
import torch
from measuring import facts, in_turns, rise
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as peer
from torch import Tensor
from torch.nn.functional import normalize

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.training.allocator import keep_freed_memory
from fashreg.values import Embedded

B = 64
OURS = {
    "contrastive": lambda: ContrastiveLoss(form="hinge", normaliser="pairs"),  # the peer's definition
    "contrastive, per anchor": lambda: ContrastiveLoss(),
    "multi-similarity": lambda: MultiSimilarityLoss(),
    "multi-similarity, mined": lambda: MultiSimilarityLoss(epsilon=0.1),
    "infonce": lambda: InfoNCELoss(),
}
ARMS = [f"{arm} {loss}" for loss in OURS for arm in ("ours", "floor", "peer")]


class Ring:
    """M unit rows with labels and ids, the oldest overwritten first."""

    def __init__(self, m: int, d: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(1)
        self.vectors = normalize(torch.randn(m, d, generator=generator))
        self.labels = torch.randint(0, classes, (m,), generator=generator)
        self.ids, self.at = torch.arange(10**6, 10**6 + m), 0

    def push(self, rows: Tensor, labels: Tensor, ids: Tensor) -> Embedded:
        part = slice(self.at, self.at + B)
        self.vectors[part], self.labels[part], self.ids[part] = normalize(rows.detach()), labels, ids
        self.at = (self.at + B) % len(self.vectors)
        return Embedded(self.vectors, self.labels, self.ids, unit=True)


class Steps:
    """One step of every arm; the same memory, batches and labels for all."""

    def __init__(self, m: int, d: int, classes: int, only: str | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(B, d, generator=generator, requires_grad=True)
        draws = [torch.randperm(classes, generator=generator)[: B // 4] for _ in range(64)]
        self.batches = itertools.cycle([draw.repeat_interleave(4) for draw in draws])
        self.ids = torch.arange(B)
        self.ring = Ring(m, d, classes)
        self.ours = {name: make() for name, make in OURS.items()}
        cosine = distances.CosineSimilarity()
        self.peers = {
            "contrastive": (peer.ContrastiveLoss(1, 0.5, distance=cosine), None),
            "multi-similarity": (peer.MultiSimilarityLoss(), None),
            "multi-similarity, mined": (peer.MultiSimilarityLoss(), miners.MultiSimilarityMiner(0.1)),
            "infonce": (peer.SupConLoss(0.1), None),
        }
        self.memories = {
            name: self.filled(loss, miner, m, d)
            for name, (loss, miner) in self.peers.items()
            if only in (None, f"peer {name}")
        }

    def filled(self, loss: Any, miner: Any, m: int, d: int) -> Any:
        memory = peer.CrossBatchMemory(loss, d, memory_size=m, miner=miner)
        memory.embedding_memory.copy_(self.ring.vectors)
        memory.label_memory.copy_(self.ring.labels)
        memory.has_been_filled = True
        return memory

    def step(self, arm: str) -> Tensor:
        side, name = arm.split(" ", 1)
        labels = next(self.batches)
        if side == "peer":
            value = self.memories[name](self.x, labels)
        else:
            self.ids = self.ids + B  # new images: a copy that is still remembered is another image, as for the peer
            memory = self.ring.push(self.x, labels, self.ids)
            if side == "ours":
                value = self.ours[name](Embedded(self.x, labels, self.ids), memory)
            else:
                value = self.floor(name, labels, memory)
        value.backward()
        return value.detach()

    def floor(self, name: str, labels: Tensor, memory: Embedded) -> Tensor:
        s = normalize(self.x) @ memory.vectors.T
        same, own = labels[:, None] == memory.labels[None], self.ids[:, None] == memory.ids[None]
        p, n = same & ~own, ~(same | own)
        if name == "infonce":
            return dense_losses.infonce(s, p, own)
        if name == "contrastive":
            return dense_losses.contrastive_hinge(s, p, n)
        if name.startswith("contrastive"):
            return dense_losses.contrastive(s, p, n)
        return dense_losses.multi_similarity(s, *(dense_losses.mined(s, p, n) if name.endswith("mined") else (p, n)))

    def has(self, arm: str) -> bool:
        return not arm.startswith("peer") or arm.removeprefix("peer ") in self.memories


def measure_memory(arm: str, m: int, d: int, classes: int) -> None:
    """Run in a process of its own: print the MiB by which three steps raise the resident set."""
    warm = Steps(256, d, classes, only=arm)
    warm.step(arm)
    steps = Steps(m, d, classes, only=arm)
    print(rise(lambda: steps.step(arm)))


def check(d: int, classes: int) -> None:
    """All arms of a row must compute the same number."""
    for name in OURS:
        fresh = {side: Steps(4096, d, classes, only=f"{side} {name}") for side in ("ours", "floor", "peer")}
        values = [float(s.step(f"{side} {name}")) for side, s in fresh.items() if s.has(f"{side} {name}")]
        if max(values) - min(values) > 1e-4 * (1 + abs(values[0])):
            raise SystemExit(f"{name}: the arms disagree: {values}")


def compare(m: int, d: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    check(d, options.classes)
    steps = Steps(m, d, options.classes)
    arms = [arm for arm in ARMS if steps.has(arm)]
    rounds, budget = (3, 2) if options.quick else (options.rounds, 20)
    times = in_turns({arm: partial(steps.step, arm) for arm in arms}, rounds, budget)
    rows = []
    for name in OURS:
        row: dict[str, Any] = {"loss": name, "M": m, "D": d}
        for side in ("ours", "floor", "peer"):
            if (arm := f"{side} {name}") in times:
                row[side] = {"least_ms": min(times[arm]), "median_ms": statistics.median(times[arm])}
                if not options.no_memory:
                    command = [sys.executable, __file__, "--one", arm, str(m), str(d), str(options.classes)]
                    command += ["--threads", str(options.threads)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    row[side]["peak_mib"] = float(done.stdout)
        rows.append(row)
        show(row)
    return rows


def show(row: dict[str, Any]) -> None:
    def ratio(side: str, key: str) -> str:
        if side not in row or key not in row["ours"]:
            return f"{'-':>8}"
        return f"{row['ours'][key] / row[side][key]:8.2f}"

    def number(side: str, key: str) -> str:
        return f"{row[side][key]:9.1f}" if side in row and key in row[side] else f"{'-':>9}"

    sides = ("ours", "floor", "peer")
    times, peaks = ("".join(number(side, key) for side in sides) for key in ("least_ms", "peak_mib"))
    ratios = ratio("floor", "least_ms") + ratio("peer", "least_ms")
    head = f"{row['M']:6d} {row['D']:4d}  {row['loss']:24}"
    print(f"{head}{times}{ratios} |{peaks}{ratio('peer', 'peak_mib')}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="M = 4k and 16k, three rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--classes", type=int, default=1000, help="classes in the memory, at least 16")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--plain-allocator", action="store_true", help="let glibc give freed memory back")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, metavar=("ARM", "M", "D", "C"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        measure_memory(options.one[0], *map(int, options.one[1:]))
        return
    kept = not options.plain_allocator and keep_freed_memory()  # for every arm alike
    about = facts(options.threads, **{"freed memory kept": kept, "B": B, "classes in the memory": options.classes})
    print(f"{'':38}{'least milliseconds':^27}{'ours divided by':^16} | {'peak MiB above the state':^27}{'ours/':>7}")
    print(f"{'M':>6} {'D':>4}  {'loss':24}{'ours':>9}{'floor':>9}{'peer':>9}{'floor':>8}{'peer':>8} |"
          f"{'ours':>9}{'floor':>9}{'peer':>9}{'peer':>8}")  # fmt: skip
    sizes = (4096, 16384) if options.quick else (4096, 16384, 65536)
    rows = [row for m in sizes for d in (128, 512) for row in compare(m, d, options)]
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

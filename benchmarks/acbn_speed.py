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
import contextlib
import ctypes
import itertools
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_metric_learning
import torch
from fashreg_acbn.memory import _TURNS, ACBNMemory
from fashreg_acbn.moments import batch_moments
from pytorch_metric_learning import distances
from pytorch_metric_learning import losses as peer
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.memories.xbm import XBMMemory
from fashreg.training.allocator import keep_freed_memory
from fashreg.values import Embedded

B, CLASSES, DRAWN, NEVER = 64, 1000, 64, -1e30
LOSSES = {
    "contrastive": lambda: ContrastiveLoss(form="hinge", normaliser="pairs"),  # the peer's definition
    "contrastive, per anchor": lambda: ContrastiveLoss(),
    "multi-similarity": lambda: MultiSimilarityLoss(),
    "infonce": lambda: InfoNCELoss(),
}
ARMS = ("xbm", "acbn", "in place", "dense", "peer", "peer, as it comes", "floor")


class InPlaceMemory(ACBNMemory):
    """The update of acbn as it is usually written: all rows are read for their moments and rewritten, every step."""

    @torch.no_grad()
    def align(self, batch: Embedded) -> None:
        XBMMemory.align(self, batch)
        self.filter.observe(batch_moments(batch.vectors, batch.labels))
        if len(self):
            mean, std = self.filter.level.float()
            rows = self.emb[: len(self)]
            factor = (std / rows.std(0, correction=0)).clamp(0.25, 4.0)
            self.emb[: len(self)] = (rows - rows.mean(0)) * factor + mean

    def read(self) -> Embedded:
        kept = XBMMemory.read(self)
        return Embedded(normalize(kept.vectors), kept.labels, kept.ids, unit=True)

    def push(self, batch: Embedded) -> None:
        XBMMemory.push(self, batch)

    def _storable(self, batch: Embedded) -> Tensor:
        return XBMMemory._storable(self, batch)


class Steps:
    """One step of every arm that is asked for, each on a memory of its own; the same batches for all."""

    def __init__(self, loss: str, m: int, d: int, arms: tuple[str, ...]) -> None:
        g = torch.Generator().manual_seed(0)
        self.loss, self.m, self.d, self.make = loss, m, d, LOSSES[loss]()
        wander = torch.cumsum(0.02 * torch.randn(DRAWN, d, generator=g), 0) / d**0.5
        rows = normalize(torch.randn(DRAWN, B, d, generator=g) / d**0.5 + wander[:, None], dim=2)
        labels = [torch.randperm(CLASSES, generator=g)[: B // 4].repeat_interleave(4) for _ in range(DRAWN)]
        self.batches = {arm: itertools.cycle(zip(rows, labels, strict=True)) for arm in arms}
        self.ids = dict.fromkeys(arms, 10**6)
        kinds = {"xbm": XBMMemory, "dense": XBMMemory, "acbn": ACBNMemory, "in place": InPlaceMemory}
        self.memories: dict[str, Any] = {arm: kinds[arm](m, embed_dim=d, start_step=0) for arm in arms if arm in kinds}
        self.peers = {arm: self._peer(arm) for arm in arms if arm.startswith("peer")}
        self.tiles = normalize(torch.randn(m, d, generator=g)) if "floor" in arms else None
        for arm in arms:
            self._fill(arm)

    def _peer(self, arm: str) -> Any:
        if self.loss.endswith("per anchor"):
            return None
        known = arm == "peer"
        distance = distances.DotProductSimilarity(normalize_embeddings=False) if known else distances.CosineSimilarity()
        inner: Any = {
            "contrastive": lambda: peer.ContrastiveLoss(1, 0.5, distance=distance),
            "multi-similarity": lambda: peer.MultiSimilarityLoss(distance=distance),
            "infonce": lambda: peer.SupConLoss(0.1, distance=distance),
        }[self.loss]()
        return peer.CrossBatchMemory(inner, self.d, memory_size=self.m)

    def _fill(self, arm: str) -> None:
        rows, labels = (torch.cat(parts) for parts in zip(*(next(self.batches[arm]) for _ in range(8)), strict=True))
        for start in range(0, self.m, len(rows)):
            part = slice(0, min(len(rows), self.m - start))
            if arm in self.memories:
                self.memories[arm].push(Embedded(rows[part], labels[part], torch.arange(start, start + self.m)[part]))
            elif self.peers.get(arm) is not None:
                self.peers[arm].embedding_memory[start : start + len(rows)] = rows[part]
                self.peers[arm].label_memory[start : start + len(rows)] = labels[part]
                self.peers[arm].has_been_filled = True

    def has(self, arm: str) -> bool:
        return not arm.startswith("peer") or self.peers[arm] is not None

    def step(self, arm: str) -> Tensor:
        rows, labels = next(self.batches[arm])
        leaf = rows.clone().requires_grad_()
        self.ids[arm] += B
        batch = Embedded(leaf, labels, torch.arange(self.ids[arm], self.ids[arm] + B), unit=True)
        if arm == "floor":
            return self._floor(leaf)
        if arm.startswith("peer"):
            value = self.peers[arm](leaf, labels)
        else:
            memory = self.memories[arm]
            memory.align(batch.detach())
            read = memory.read()
            value = self._dense(batch, read) if arm == "dense" else self.make(batch, read)
        value.backward()
        if arm in self.memories:
            self.memories[arm].push(batch.detach())
        assert leaf.grad is not None
        return value.detach()

    def _floor(self, leaf: Tensor) -> Tensor:
        assert self.tiles is not None
        with torch.no_grad():
            total, out = torch.zeros_like(leaf), leaf.new_empty(B, 2048)
            for start in range(0, self.m, 2048):
                tile = self.tiles[start : start + 2048]
                total.addmm_(torch.mm(leaf, tile.T, out=out), tile)
        return total.sum()

    def _dense(self, batch: Embedded, memory: Embedded) -> Tensor:
        s = batch.vectors @ memory.vectors.T
        same, own = batch.labels[:, None] == memory.labels[None], batch.ids[:, None] == memory.ids[None]
        p, n = same & ~own, ~(same | own)
        if self.loss == "infonce":
            x = s / 0.1
            log = torch.logsumexp(x.masked_fill(own, NEVER), 1)
            return (log - (x * p).sum(1) / p.sum(1)).mean()
        if self.loss == "multi-similarity":
            near = torch.logsumexp((-2 * (s - 0.5)).masked_fill(~p, NEVER), 1)
            far = torch.logsumexp((50 * (s - 0.5)).masked_fill(~n, NEVER), 1)
            return (softplus(near) / 2 + softplus(far) / 50).mean()
        far = n & (s > 0.5)
        if self.loss == "contrastive":
            near = torch.where(p, 1 - s, 0.0).sum() / p.sum()
            return near + torch.where(far, s - 0.5, 0.0).sum() / far.sum().clamp(1)
        return (torch.where(p, 1 - s, 0.0) + torch.where(far, s, 0.0)).sum() / B


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise SystemExit("peak memory is read from /proc, which this system does not have; use --no-memory")


def peak_of(loss: str, m: int, d: int, arm: str) -> dict[str, float]:
    """In a process of its own: MiB by which three steps raise the resident set, and what the memory keeps."""
    Steps(loss, 256, d, (arm,)).step(arm)  # the libraries are warm
    steps = Steps(loss, m, d, (arm,))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what making the memory left over must not hide what a step takes
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    for _ in range(3):
        steps.step(arm)
    kept: nn.Module = steps.memories.get(arm) or steps.peers[arm]
    state = sum(buffer.numel() * buffer.element_size() for buffer in kept.buffers())
    return {"peak_mib": max(0, resident("VmHWM") - before) / 2**20, "state_mib": state / 2**20}


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
    facts = {
        "torch": torch.__version__,
        "pytorch-metric-learning": pytorch_metric_learning.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "freed memory kept": not options.plain_allocator and keep_freed_memory(),
        "B": B,
        "classes": CLASSES,
        "date": time.strftime("%Y-%m-%d"),
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{'':36}{'least milliseconds':^56} |{'acbn divided by':^35} |{'peak MiB above the state':^48}{'state':>8}")
    heads = ("xbm", "acbn", "in place", "dense", "peer", "p. as is", "floor")
    print(f"{'M':>6}{'D':>5} {'loss':24}" + "".join(f"{head:>8}" for head in heads) + " |"
          + "".join(f"{head:>7}" for head in ("xbm", "median", "dense", "peer", "floor")) + " |"
          + "".join(f"{head:>8}" for head in (*heads[:-1], "acbn")))  # fmt: skip
    rows = [cell(loss, m, d, options) for loss in options.losses for m in options.sizes for d in options.widths]
    if options.json:
        options.json.write_text(json.dumps({**facts, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

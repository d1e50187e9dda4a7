"""What do three objectives at once cost, beside two of another library, and beside the least that they could cost?

A step is loss and backward for B = 180 rows (45 classes of 4) in D = 512 dimensions against C proxies. The arms:

    floor      the products alone, by hand: rows and proxies of the batch's classes stacked, times all proxies; an
               exponential; and the two products of the gradients. By tiles, with the products that ours has (oneDNN)
    floor, mm  the same by torch.mm (MKL) in one piece: what a plain dense implementation could reach
    ours       loss `multi-objective` as it comes: three objectives, mined pairs, contributions measured every 10 steps
    unfused    the same, the proxy objectives one after the other and not in one walk
    two        multi-similarity and proxy-anchor by our loss, equal weights: what the peer computes
    peer       pytorch-metric-learning's MultiSimilarityLoss, then its ProxyAnchorLoss, added
    peer, all  the same with its MultiSimilarityMiner and our third objective in plain torch with autograd: what ours
               does, but for the weighing and the second relation in mining

Times are the least milliseconds of all rounds, arms taking turns: of the processor's time with one thread, so that
other work on the machine does not count, else by the clock. "ours, averaged" is the step without measuring plus a tenth
of what measuring adds. Peak memory is the rise of the resident set over three steps, in one more process for each arm.

    python benchmarks/moml_speed.py [--quick] [--rounds N] [--threads N] [--no-memory] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fashreg_moml.loss import MultiObjectiveLoss
from fashreg_moml.product import onednn, times_transposed
from measuring import facts, in_turns, rise
from pytorch_metric_learning import losses as peer
from pytorch_metric_learning import miners
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from fashreg.training.allocator import keep_freed_memory

B, D, K, TILE = 180, 512, 4, 1024
ARMS = ("floor", "floor, mm", "ours", "ours, measuring", "unfused", "two", "peer", "peer, all")
NEVER = 1 << 40


class Bench:
    """One batch, and a step of every arm that is asked for."""

    def __init__(self, classes: int, arms: tuple[str, ...] = ARMS) -> None:
        torch.manual_seed(0)
        self.x = torch.randn(B, D, requires_grad=True)
        self.y = torch.randperm(classes)[: B // K].repeat_interleave(K)
        self.losses: dict[str, Any] = {}
        self.miner = miners.MultiSimilarityMiner(0.1)
        for arm in arms:
            self.losses[arm] = self._loss(arm, classes)
            self.step(arm)  # measures what is measured in the first step only

    def _loss(self, arm: str, classes: int) -> Any:
        facts: dict[str, Any] = {"num_classes": classes, "embed_dim": D, "every": NEVER}
        if arm.startswith("floor"):
            return torch.randn(classes, D)
        if arm.startswith("peer"):
            return nn.ModuleList([peer.MultiSimilarityLoss(), peer.ProxyAnchorLoss(classes, D)])
        if arm == "two":
            return MultiObjectiveLoss(**facts, repulsion=None, rule="fixed", mining=None, virtual=False)
        if arm == "unfused":
            return MultiObjectiveLoss(**facts, repulsion={"name": "proxy-repulsion", "exempt": 1.0})
        return MultiObjectiveLoss(**{**facts, "every": 1 if arm == "ours, measuring" else NEVER})

    def step(self, arm: str) -> Tensor:
        self.x.grad = None
        loss = self.losses[arm]
        if arm.startswith("floor"):
            return self._floor(loss) if arm == "floor" else self._floor_mm(loss)
        loss.zero_grad()
        if arm == "peer":
            value = loss[0](self.x, self.y) + loss[1](self.x, self.y)
        elif arm == "peer, all":
            pairs = loss[0](self.x, self.y, self.miner(self.x, self.y))
            value = pairs + loss[1](self.x, self.y) + self._apart(loss[1].proxies)
        else:
            value = loss(self.x, self.y)
        value.backward()
        return value.detach()

    def _apart(self, proxies: Tensor) -> Tensor:
        p, here = normalize(proxies), self.y[::K]
        u = 32 * (p[here] @ p.T - (0.1 if len(p) > 2 * D else 0.0))
        own = torch.zeros_like(u, dtype=torch.bool).scatter_(1, here[:, None], True)
        return softplus(torch.logsumexp(u.masked_fill(own, -1e30), 1)).mean() / 32

    @torch.no_grad()
    def _floor(self, w: Tensor) -> Tensor:
        stacked, pull = torch.cat([self.x, w[self.y[::K]]]), 0.0
        turned, by_w = stacked.T, torch.empty_like(w)
        for part, into in zip(w.split(TILE), by_w.split(TILE), strict=True):
            e = times_transposed(part, stacked).mul_(1e-3).exp_()
            pull = pull + times_transposed(e.T, part.T)
            into.copy_(times_transposed(e, turned))
        return by_w[0, 0] + pull.sum()

    @torch.no_grad()
    def _floor_mm(self, w: Tensor) -> Tensor:
        stacked = torch.cat([self.x, w[self.y[::K]]])
        e = (stacked @ w.T).mul_(1e-3).exp_()
        return (e @ w).sum() + (e.T @ stacked)[0, 0]


def check(bench: Bench) -> None:
    """Arms that compute the same must agree."""
    twins = bench.losses
    twins["peer"][1].proxies.data.copy_(twins["two"].proxies)
    twins["unfused"].proxies.data.copy_(twins["ours"].proxies)
    apart = float(bench._apart(twins["ours"].proxies.detach()))
    if abs(apart - float(twins["ours"].parts["repulsion"])) > 1e-5:
        raise SystemExit(f"repulsion by hand gives {apart}, ours {twins['ours'].parts}")
    for one, other in (("two", "peer"), ("ours", "unfused")):
        twins[other].load_state_dict(twins[one].state_dict()) if other != "peer" else None
        values = [float(bench.step(arm)) for arm in (one, other)]
        if abs(values[0] - values[1]) > 1e-4 * abs(values[0]):
            raise SystemExit(f"{one} gives {values[0]}, {other} gives {values[1]}")


def times_of(classes: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of every arm."""
    bench = Bench(classes)
    check(bench)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times = in_turns({arm: partial(bench.step, arm) for arm in ARMS}, rounds, clock=clock)
    least = {arm: min(values) for arm, values in times.items()}
    median = {arm: statistics.median(values) for arm, values in times.items()}
    for found in (least, median):
        found["ours, averaged"] = found["ours"] + (found["ours, measuring"] - found["ours"]) / 10
    return {"C": classes, "least_ms": least, "median_ms": median}


def peak_of(classes: int, arm: str) -> float:
    """In a process of its own: MiB by which three steps raise the resident set."""
    Bench(256, (arm,))  # the libraries are warm
    bench = Bench(classes, (arm,))
    if not arm.startswith("floor"):
        bench.losses[arm].zero_grad()
    return rise(lambda: bench.step(arm))


def shown(found: dict[str, Any]) -> None:
    least, peaks = found["least_ms"], found.get("peak_mib", {})
    print(f"\nC = {found['C']}: milliseconds, against the floor, peak MiB")
    for arm, ms in least.items():
        peak = f"{peaks[arm]:10.0f}" if arm in peaks else " " * 10
        print(f"{arm:18}{ms:10.1f}{ms / least['floor']:8.2f}{peak}")
    ours = least["ours, averaged"]
    adds = (ours - least["ours"]) / least["ours"]
    print(
        f"ours / floor {ours / least['floor']:.2f} (aim 1.5), / floor, mm {ours / least['floor, mm']:.2f}, "
        f"peer / ours {least['peer'] / ours:.2f} (aim 2), "
        f"peer / two {least['peer'] / least['two']:.2f}, peer, all / ours {least['peer, all'] / ours:.2f}, "
        f"measuring {adds:.1%} of a step (aim 15%)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, few proxies")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("C", "ARM"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak_of(int(options.peak[0]), options.peak[1]))
        return
    more = {"oneDNN": onednn() is not None, "freed memory kept": keep_freed_memory(), "rounds": options.rounds}
    about = facts(options.threads, **more)
    rows: list[dict[str, Any]] = []
    asked: Callable[[int], int] = lambda classes: 3 if options.quick else max(8, options.rounds * 4000 // classes)  # noqa: E731
    for classes in (1000,) if options.quick else (4000, 50000):
        rows.append(times_of(classes, asked(classes)))
        if not options.no_memory:
            rows[-1]["peak_mib"] = {
                arm: float(
                    subprocess.run(
                        [sys.executable, __file__, "--peak", str(classes), arm],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for arm in ARMS
            }
        shown(rows[-1])
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

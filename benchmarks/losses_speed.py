"""What does a loss cost, forward and backward, beside the dense floor and pytorch-metric-learning?

Two floors. "product": unit rows, one product, one exponential, a sum, and autograd's backward: what any loss on a dense
score matrix costs at least with plain torch. "plain": the loss itself written densely in plain torch with autograd
(none for the losses over all triplets, whose plain form is a cube). All arms of a row take turns within one process;
the table gives the least milliseconds of all rounds, and ratios. Batches are B / 4 classes of 4.

    python benchmarks/losses_speed.py [--quick] [--threads N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dense_losses
import torch
from dense_losses import NEVER
from measuring import facts, in_turns
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as peer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus

from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.losses.infonce import InfoNCELoss
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.losses.normalized_softmax import NormalizedSoftmaxLoss
from fashreg.losses.proxy_anchor import ProxyAnchorLoss
from fashreg.losses.triplet import TripletLoss
from fashreg.training.allocator import keep_freed_memory

Step = Callable[[], object]


class Bench:
    """One batch, and every loss three ways."""

    def __init__(self, b: int, d: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.b, self.classes = b, b // 4
        self.x = torch.randn(b, d, generator=generator, requires_grad=True)
        self.y = torch.arange(b) // 4
        self.proxies = torch.randn(self.classes, d, generator=generator, requires_grad=True)

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        z = normalize(self.x)
        positive = self.y[:, None] == self.y[None]
        negative = ~positive
        return z @ z.T, positive.fill_diagonal_(False), negative

    def product(self) -> Tensor:
        z = normalize(self.x)
        return (z @ z.T).exp().sum()

    def product_proxies(self) -> Tensor:
        return (normalize(self.x) @ normalize(self.proxies).T).exp().sum()

    def contrastive(self) -> Tensor:
        s, p, n = self.pairs()
        return dense_losses.contrastive(s, p, n)

    def multi_similarity(self) -> Tensor:
        s, p, n = self.pairs()
        return dense_losses.multi_similarity(s, p, n)

    def multi_similarity_mined(self) -> Tensor:
        s, p, n = self.pairs()
        return dense_losses.multi_similarity(s, *dense_losses.mined(s, p, n))

    def triplet_hard(self) -> Tensor:
        s, p, n = self.pairs()
        return (s.masked_fill(~n, -9).amax(1) - s.masked_fill(~p, 9).amin(1) + 0.1).relu().mean()

    def infonce(self) -> Tensor:
        s, p, n = self.pairs()
        return dense_losses.infonce(s, p, ~(p | n))

    def infonce_negatives(self) -> Tensor:
        s, p, n = self.pairs()
        x = s / 0.1
        far = torch.logsumexp(x.masked_fill(~n, NEVER), 1, keepdim=True)
        return (softplus(far - x) * p).sum() / p.sum()

    def proxy_anchor(self) -> Tensor:
        t = normalize(self.x) @ normalize(self.proxies).T
        own = torch.nn.functional.one_hot(self.y, self.classes).bool()
        near = torch.logsumexp((-32 * (t - 0.1)).masked_fill(~own, NEVER), 0)
        far = torch.logsumexp((32 * (t + 0.1)).masked_fill(own, NEVER), 0)
        return softplus(near).sum() / own.any(0).sum() + softplus(far).mean()

    def normalized_softmax(self) -> Tensor:
        return cross_entropy(normalize(self.x) @ normalize(self.proxies).T / 0.05, self.y)

    def rows(self) -> list[tuple[str, Any, Any, Any, Any]]:
        """Name, ours, plain floor, peer's loss, peer's miner."""
        cosine, d = distances.CosineSimilarity(), self.x.shape[1]
        triplet = peer.TripletMarginLoss(0.1, distance=cosine)
        facts = {"num_classes": self.classes, "embed_dim": d}
        return [
            ("contrastive", ContrastiveLoss(), self.contrastive,
             peer.ContrastiveLoss(1, 0.5, distance=cosine), None),
            ("multi-similarity", MultiSimilarityLoss(), self.multi_similarity, peer.MultiSimilarityLoss(), None),
            ("multi-similarity, mined", MultiSimilarityLoss(epsilon=0.1), self.multi_similarity_mined,
             peer.MultiSimilarityLoss(), miners.MultiSimilarityMiner(0.1)),
            ("triplet, all", TripletLoss(), None, triplet, None),
            ("triplet, semi-hard", TripletLoss(mining="semi-hard"), None, triplet,
             miners.TripletMarginMiner(0.1, "semihard", distance=cosine)),
            ("triplet, hard", TripletLoss(mining="hard"), self.triplet_hard, triplet,
             miners.BatchHardMiner(distance=cosine)),
            ("infonce (SupCon)", InfoNCELoss(), self.infonce, peer.SupConLoss(0.1), None),
            ("infonce (labelled NT-Xent)", InfoNCELoss(denominator="negatives"), self.infonce_negatives,
             peer.NTXentLoss(0.1), None),
            ("proxy-anchor", ProxyAnchorLoss(**facts), self.proxy_anchor, peer.ProxyAnchorLoss(self.classes, d), None),
            ("normalized-softmax", NormalizedSoftmaxLoss(**facts), self.normalized_softmax,
             peer.NormalizedSoftmaxLoss(self.classes, d), None),
        ]  # fmt: skip

    def steps(self, ours: Any, plain: Any, theirs: Any, miner: Any) -> dict[str, Step]:
        product = self.product_proxies if hasattr(ours, "proxies") else self.product
        steps: dict[str, Step] = {"product": lambda: product().backward(), "ours": self._call(ours)}
        if plain is not None:
            steps["plain"] = lambda: plain().backward()
        if miner is None:
            steps["peer"] = self._call(theirs)
        else:
            steps["peer"] = lambda: theirs(self.x, self.y, miner(self.x, self.y)).backward()
        return steps

    def _call(self, loss: Any) -> Step:
        return lambda: loss(self.x, self.y).backward()


def table(b: int, d: int, rounds: int, budget: float, quick: bool) -> list[dict[str, Any]]:
    bench, found = Bench(b, d), []
    print(f"\nB = {b}, D = {d}, {b // 4} classes: least milliseconds of the rounds, forward + backward")
    heads = "".join(f"{head:>9}" for head in ("ours", "product", "plain", "peer"))
    print(
        f"{'loss':28}{heads}" + "".join(f"{h:>14}" for h in ("ours/product", "ours/plain", "peer/product", "peer/ours"))
    )
    for name, *arms in bench.rows():
        steps = bench.steps(*arms)
        if quick and "NT-Xent" in name and b > 128:
            del steps["peer"]  # 6 GiB and half a minute
        times = in_turns(steps, rounds, budget)
        least = {arm: min(values) for arm, values in times.items()}
        median = {arm: statistics.median(values) for arm, values in times.items()}
        found.append({"loss": name, "B": b, "D": d, "least_ms": least, "median_ms": median})
        cells = [(f"{name:28}", "")]
        cells += [(least.get(arm), ">9.2f") for arm in ("ours", "product", "plain", "peer")]
        for arm, by in (("ours", "product"), ("ours", "plain"), ("peer", "product"), ("peer", "ours")):
            both = arm in least and by in least
            cells.append((least[arm] / least[by] if both else None, ">14.2f"))
        print("".join(f"{'-':>{form[1:-3]}}" if value is None else f"{value:{form}}" for value, form in cells))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, and without the dearest arm of the peer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--plain-allocator", action="store_true", help="let glibc give freed memory back")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kept = not options.plain_allocator and keep_freed_memory()  # for every arm alike
    rounds, budget = (10, 1.0) if options.quick else (options.rounds, 10.0)
    about = facts(options.threads, **{"freed memory kept": kept, "rounds": rounds})
    found = [row for b in (128, 512) for row in table(b, 128, rounds, budget, options.quick)]
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": found}, indent=1))


if __name__ == "__main__":
    main()

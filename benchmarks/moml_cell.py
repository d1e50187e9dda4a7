"""One training of moml_real.py: the last stages of a network on cached blocks, with one objective or several."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fashreg_moml.proxies import proxy_similarity
from products import CUT, VIEWS, Classes, new_encoder
from study import Numbers
from torch import Tensor

import fashreg
from fashreg.jobs.evaluation import evaluate_vectors

BATCH, EACH, WARMUP, REFRESH = 64, 4, 20, 50
KS = (1, 10, 20, 30, 40, 50)
METRICS = (*(f"recall@{k}" for k in KS), "map@r")
Proxies = tuple[str, str, float]  # loss, first values, factor of the learning rate


@dataclass(frozen=True)
class Arm:
    """What is trained with. terms: "pair", "proxy", or those of multi-objective."""

    terms: str
    rule: str = ""
    sampler: str = "class-balanced"
    changed: tuple[tuple[str, float], ...] = ()  # options of the loss that are not the usual ones

    @property
    def name(self) -> str:
        parts = [self.terms, self.rule, "" if self.sampler == "class-balanced" else self.sampler]
        return ", ".join(part for part in [*parts, *(f"{name} {value:g}" for name, value in self.changed)] if part)

    def loss(self, proxies: Proxies) -> Any:
        """The loss as a recipe writes it."""
        if self.terms == "pair":
            return "multi-similarity"
        name, init, factor = proxies
        proxy = {"name": name, "lr_factor": factor}
        left_out = {name: None for name in ("pair", "repulsion") if self.terms != "all" and name not in self.terms}
        return {
            "name": "multi-objective",
            "rule": self.rule or "fixed",
            "proxy": proxy,
            "init": init,
            **left_out,
            **dict(self.changed),
        }

    @property
    def batches(self) -> Numbers:
        """The sampler as a recipe writes it."""
        name, _, seeds = self.sampler.partition(" of ")
        looks = {"refresh": REFRESH, "seeds": seeds} if seeds else {}
        return {"name": name, "images_per_class": EACH, **looks}


def train(classes: Classes, arm: Arm, proxies: Proxies, lr: float, seed: int, judged: str, steps: int) -> Numbers:
    """Train one cell and judge it."""
    table, other = classes.parts[judged]
    stored = classes.blocks(table)
    labels, ids = torch.from_numpy(table.labels), torch.arange(len(table))
    encoder = new_encoder(seed)
    facts = {
        "num_classes": table.num_classes, "embed_dim": 128, "num_images": len(table), "batch_size": BATCH,
        "labels": labels, "seed": seed, "rank": 0, "world_size": 1,
    }  # fmt: skip
    loss, sampler = (
        fashreg.build(k, s, facts=facts) for k, s in (("loss", arm.loss(proxies)), ("sampler", arm.batches))
    )
    groups = [
        {"params": [p for p in encoder.parameters() if p.requires_grad], "weight_decay": 1e-4, "factor": 1.0},
        {"params": list(loss.parameters()), "weight_decay": 0.0, "factor": float(loss.lr_factor)},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)
    random, told, seconds = np.random.default_rng(seed), {}, 0.0
    for step, rows in enumerate(itertools.islice(batches_of(sampler, loss), steps), 1):
        share = min(1.0, step / WARMUP) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"] * share
        where = torch.as_tensor(rows)
        view = torch.from_numpy(random.integers(VIEWS, size=len(where)))
        started = time.perf_counter()
        value = loss(fashreg.Embedded(encoder.from_stage(stored[where, view], CUT), labels[where], ids[where]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        seconds += time.perf_counter() - started
        if step in (steps // 4, steps // 2, steps):
            told[str(step)] = {name: float(part) for name, part in loss.parts.items()}
    evaluator = fashreg.build("evaluator", "retrieval", ks=list(KS))
    found = evaluate_vectors(encoder.embed(classes.judged_blocks(other), stage=CUT), other, [evaluator])
    learnt = getattr(loss, "proxies", None)
    return {
        **{name: found.metrics[name] for name in METRICS},
        "intervals": {name: found.intervals[name] for name in METRICS},
        "rare@1": rare_recall(encoder.embed(stored[:, 0], stage=CUT), labels),
        "parts": told,
        "proxies": None if learnt is None else proxy_similarity(learnt),
        **getattr(sampler, "parts", {}),
        "seconds_a_step": seconds / steps,
    }  # fmt: skip


def batches_of(sampler: Any, loss: Any) -> Any:
    """Batches without end; after each (the step is done when the next is asked for) the sampler may look."""
    step = 0
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for number, batch in enumerate(sampler, 1):
            yield batch
            step += 1
            sampler.advance_to(number)
            if hasattr(sampler, "see") and sampler.wants(step):
                sampler.see(loss.proxies, step)


def rare_recall(vectors: Tensor, labels: Tensor) -> float:
    """recall@1 of the pictures whose class has two or three, among all of them."""
    sizes = torch.bincount(labels)[labels]
    rare = ((sizes == 2) | (sizes == 3)).nonzero().flatten()
    if not len(rare):
        return math.nan
    x = torch.nn.functional.normalize(vectors)
    scores = x[rare] @ x.T
    scores[torch.arange(len(rare)), rare] = -2.0
    return float((labels[scores.argmax(1)] == labels[rare]).float().mean())

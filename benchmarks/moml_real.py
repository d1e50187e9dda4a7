"""Three objectives or one? Weighed how? Batches of which classes? On fashion-products, or on Atelier's instances.

Objectives: pairs (multi-similarity), proxies (proxy-anchor or normalized-softmax), proxies apart (proxy-repulsion);
"all" joins the three in loss multi-objective. Weights: fixed 1:1:1, balanced by contribution, uncertainty. Batches of
16 classes x 4 pictures: class-balanced, or two-relation (looks at the proxies after the first epoch, then every 50
steps; needs proxies; deals images, in one arm classes). All else is equal: EfficientNet-Lite0 at 128 px with ImageNet
weights, the stages up to blocks.5 frozen and their features cached (three views of each picture: as at evaluation, and
two varied as in training); blocks.6, conv_head and a projection to 128 are trained with AdamW, batch norm's statistics
fixed, cosine schedule, the same number of steps. Every option that is not named here is the component's default.

    choose  first which proxies all arms have: the loss, their first values (random, class means) and their factor of
            the learning rate (100, 10), by what proxies alone reach with them at the two smaller rates; then each arm's
            learning rate, from the same three. By map@r on a fifth of the training classes, seed 0
    arms    every arm at its rate, trained on all training classes, judged on the test classes: the arms of HEADLINE
            with every seed, the rest of the cross product with the first
    mining  "all, balanced" with other shares of the proxies in mining: eta 0 and 1 (rates as chosen for eta 0.5)
    aims    "all, balanced" with other aims: pairs 0.5, 2 and 4 times the proxy objective's contribution, repulsion
            0.03 and 0.3 times; on held-out classes, and the best of them on the test classes where it is no usual one
    whole   pairs, proxies and all (fixed, balanced, balanced with two-relation) once more with the product's own
            training, from pictures of --size pixels, nothing frozen, for --epochs; each arm's rate from two, as above

Test classes are read by the last four only, never to choose anything. Beside the metrics each cell has:
rare@1, recall@1 among all training pictures of those whose class has two or three (seen in training, so no measure of
generalisation); proxies, mean and largest cosine of two; shares, weights and the cosine of the two pulls on the rows
at a quarter, half and the end; coverage, the share of classes in the last epoch's batches so far.
Cells that the JSON file has already are not run again, so an interrupted study goes on.

    python benchmarks/moml_real.py --data FOLDER [--set atelier] [--parts PART ...] [--seeds 0 1 2] [--steps 160]
        [--epochs 2] [--size 128] [--arms NAME ...] [--json FILE] [--features FILE] [--minutes M]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fashreg_moml.proxies import proxy_similarity
from products import CUT, add_data_argument, new_encoder, prefix, table_of
from safetensors.torch import load_file, save_file
from torch import Tensor

import fashreg
from fashreg.data.splits import hold_out, training_tables
from fashreg.data.table import Table
from fashreg.jobs.evaluation import evaluate_vectors
from fashreg.training.allocator import keep_freed_memory

VIEWS, BATCH, EACH, WARMUP, REFRESH = 3, 64, 4, 20, 50
RATES, WHOLE_RATES = (3e-4, 1e-3, 3e-3), (3e-4, 1e-3)
PROXIES = tuple(itertools.product(("proxy-anchor", "normalized-softmax"), ("random", "class-means"), (100.0, 10.0)))
RULES = ("fixed", "balanced", "uncertainty")
KS = (1, 10, 20, 30, 40, 50)
METRICS = (*(f"recall@{k}" for k in KS), "map@r")
SHOWN = ("recall@1", "recall@10", "recall@50", "map@r", "rare@1")
PARTS = ("choose", "arms", "mining", "aims", "whole")
ATELIER = "atelier:products=600,views=4,seed=0"
Numbers = dict[str, Any]
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


NEAR = "two-relation of images"
SINGLE = [Arm("pair"), Arm("proxy"), Arm("proxy", sampler=NEAR)]
JOINT = [
    Arm(terms, rule, sampler)
    for terms in ("pair + proxy", "proxy + repulsion", "all")
    for rule in RULES
    for sampler in ("class-balanced", NEAR)
]
CLASSES = Arm("all", "balanced", "two-relation of classes")
ARMS = [*SINGLE, *JOINT, CLASSES]
BASE = Arm("all", "balanced")
WHOLE = [Arm("pair"), Arm("proxy"), Arm("all", "fixed"), BASE, Arm("all", "balanced", NEAR)]
HEADLINE = [*WHOLE, Arm("pair + proxy", "balanced"), Arm("all", "uncertainty")]
AIMS = (("pair_weight", 0.5), ("pair_weight", 2.0), ("pair_weight", 4.0),
        ("repulsion_weight", 0.03), ("repulsion_weight", 0.3))  # fmt: skip


class Study:
    """The table, its cached features, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.on_atelier, self.file, self.kept = options.set == "atelier", options.json, options.features
        self.source = ATELIER if self.on_atelier else table_of(options.data)
        self.label, self.steps = ("label" if self.on_atelier else "style"), options.steps
        self.epochs, self.size = options.epochs, options.size
        known = self.file is not None and self.file.is_file()
        self.found: dict[str, Numbers] = json.loads(self.file.read_text()) if known else {}
        self.until = time.monotonic() + 60 * options.minutes

    @cached_property
    def whole_train(self) -> Table:
        return training_tables({"label": self.label, "test_split": "none"}, source=self.source).train

    @cached_property
    def parts(self) -> dict[str, tuple[Table, Table]]:
        """What is trained on and judged, by what is judged."""
        test = fashreg.read_table(self.source, {"label": self.label}, split="test")
        return {"held": hold_out(self.whole_train, 0.2, 0), "test": (self.whole_train, test)}

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """(VIEWS, C, h, w) by the path of a picture; pictures that are only judged have one view."""
        tables = {"train": (self.whole_train, VIEWS), "test": (self.parts["test"][1], 1)}
        if self.kept is not None and self.kept.is_file():
            made = load_file(self.kept)
        else:
            encoder = new_encoder(0)
            made = {
                name: torch.stack([prefix(encoder, table, view) for view in range(views)], 1).contiguous()
                for name, (table, views) in tables.items()
            }
            if self.kept is not None:
                save_file(made, self.kept)
        return {p: row for name, (table, _) in tables.items() for p, row in zip(paths(table), made[name], strict=True)}

    def keep(self, key: str, numbers: Numbers) -> Numbers:
        self.found[key] = numbers
        if self.file is not None:
            self.file.write_text(json.dumps(self.found, indent=1) + "\n")
        print(f"  {key}: {numbers['map@r']:.4f}", file=sys.stderr, flush=True)
        if time.monotonic() > self.until:
            raise SystemExit(3)  # not finished
        return numbers

    def cell(self, arm: Arm, lr: float, seed: int, judged: str, proxies: Proxies | None = None) -> Numbers:
        """The numbers of one training, run unless they are known. judged: "held" or "test"."""
        proxies = proxies or self.proxies
        with_ = "" if arm.terms == "pair" else " ({}, {}, x {:g})".format(*proxies)
        key = f"{arm.name}{with_}, lr {lr:g}, seed {seed}, {judged}, steps {self.steps}"
        return self.found.get(key) or self.keep(key, train(self, arm, proxies, lr, seed, judged))

    @cached_property
    def proxies(self) -> Proxies:
        """The proxies that do best alone on held-out training classes."""
        best = {
            choice: max(self.cell(Arm("proxy"), lr, 0, "held", choice)["map@r"] for lr in RATES[:2])
            for choice in PROXIES
        }
        return max(best, key=lambda choice: best[choice])

    def rate(self, arm: Arm) -> float:
        """The learning rate that the arm was best with on held-out training classes."""
        cells = {lr: self.cell(arm, lr, 0, "held")["map@r"] for lr in RATES}
        return max(cells, key=lambda lr: cells[lr])


def paths(table: Table) -> list[str]:
    return [str(path) for path in table.paths]


def train(study: Study, arm: Arm, proxies: Proxies, lr: float, seed: int, judged: str) -> Numbers:
    """Train one cell and judge it."""
    table, other = study.parts[judged]
    stored = torch.stack([study.features[path] for path in paths(table)])
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
    for step, rows in enumerate(itertools.islice(batches_of(sampler, loss), study.steps), 1):
        share = min(1.0, step / WARMUP) * 0.5 * (1 + math.cos(math.pi * (step - 1) / study.steps))
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
        if step in (study.steps // 4, study.steps // 2, study.steps):
            told[str(step)] = {name: float(part) for name, part in loss.parts.items()}
    features = torch.stack([study.features[path][0] for path in paths(other)])
    evaluator = fashreg.build("evaluator", "retrieval", ks=list(KS))
    found = evaluate_vectors(encoder.embed(features, stage=CUT), other, [evaluator])
    learnt = getattr(loss, "proxies", None)
    return {
        **{name: found.metrics[name] for name in METRICS},
        "intervals": {name: found.intervals[name] for name in METRICS},
        "rare@1": rare_recall(encoder.embed(stored[:, 0], stage=CUT), labels),
        "parts": told,
        "proxies": None if learnt is None else proxy_similarity(learnt),
        **getattr(sampler, "parts", {}),
        "seconds_a_step": seconds / study.steps,
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


def whole(study: Study, arm: Arm, lr: float, seed: int, judged: str) -> Numbers:
    """An arm with the product's own training, from pictures, nothing frozen."""
    key = f"whole, {arm.name}, lr {lr:g}, seed {seed}, {judged}, epochs {study.epochs}, {study.size} px"
    if key in study.found:
        return study.found[key]
    held = {"holdout": 0.2, "test_split": "none"} if judged == "held" else {"holdout": 0.0}
    evaluators = [{"name": "retrieval", "ks": list(KS)}]
    settings = {"batch_size": BATCH, "lr": lr, "epochs": study.epochs, "checkpoint_every": 0}
    with tempfile.TemporaryDirectory() as folder:
        found = fashreg.train(
            "fashion-products", table=study.source, data={"label": study.label, **held}, out=Path(folder) / "run",
            backbone={"name": "lite0", "image_size": study.size}, loss=arm.loss(study.proxies), sampler=arm.batches,
            evaluators=evaluators, trainer=settings, seed=seed, quiet=True,
        )  # fmt: skip
    metrics = {name: found.after.metrics[name] for name in METRICS}
    return study.keep(key, {**metrics, "seconds_a_step": found.report.seconds / found.report.steps})


def whole_runs(study: Study, arm: Arm, seeds: list[int]) -> list[Numbers]:
    """Its rate on held-out classes, then every seed on the test classes."""
    held = {lr: whole(study, arm, lr, 0, "held")["map@r"] for lr in WHOLE_RATES}
    best = max(held, key=lambda lr: held[lr])
    return [whole(study, arm, best, seed, "test") for seed in seeds]


def show(title: str, rows: dict[str, list[Numbers]]) -> None:
    """A line an arm: mean and range over seeds."""
    print(f"\n{title}\n{'':<50}" + "".join(f"{name:<25}" for name in SHOWN))
    for name, runs in rows.items():
        figures = "".join(f"{spread([run[metric] for run in runs if metric in run]):<25}" for metric in SHOWN)
        print(f"{name:<50}{figures}{told(runs)}", flush=True)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else ""


def told(runs: list[Numbers]) -> str:
    """Means over seeds of what the loss said at the end."""
    ends = [list(run["parts"].values())[-1] for run in runs if run.get("parts")]
    names = [name for name in (ends[0] if ends else {}) if "share" in name or "weight" in name]
    near = [run["proxies"]["largest"] for run in runs if run.get("proxies")]
    said = [f"{name} {statistics.mean(end[name] for end in ends):.3g}" for name in names]
    return "; ".join(said + ([f"largest proxy cosine {statistics.mean(near):.3f}"] if near else []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--set", choices=("fashion-products", "atelier"), default="fashion-products")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--arms", nargs="+", help="only the arms of these names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=2, help="of the part whole")
    parser.add_argument("--size", type=int, default=128, help="pixels, of the part whole")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--features", type=Path, help="safetensors file that keeps the cached features")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after a cell that ends later (exit 3)")
    options = parser.parse_args()
    keep_freed_memory()
    study, seeds = Study(options), options.seeds
    wanted = [arm for arm in dict.fromkeys((*HEADLINE, *ARMS)) if not options.arms or arm.name in options.arms]
    print("proxies:", study.proxies)
    if {"choose", "arms"} & set(options.parts):
        measure(study, wanted, seeds, judge="arms" in options.parts)
    if "mining" in options.parts:
        arms = [replace(BASE, changed=(("eta", eta),)) for eta in (0.0, 1.0)]
        rows = {a.name: [study.cell(a, study.rate(BASE), seed, "test") for seed in seeds] for a in arms}
        show("test classes, mining", rows)
    if "aims" in options.parts:
        tried = {(): study.cell(BASE, study.rate(BASE), 0, "held")}
        for change in AIMS:
            tried[change,] = study.cell(replace(BASE, changed=(change,)), study.rate(BASE), 0, "held")
        show("held-out training classes, aims", {replace(BASE, changed=c).name: [run] for c, run in tried.items()})
        best = replace(BASE, changed=max(tried, key=lambda change: tried[change]["map@r"]))
        show("test classes, aims", {best.name: [study.cell(best, study.rate(BASE), seed, "test") for seed in seeds]})
    if "whole" in options.parts:
        runs = {arm.name: whole_runs(study, arm, seeds) for arm in wanted if arm in WHOLE}
        show("test classes, the whole network", runs)


def measure(study: Study, arms: list[Arm], seeds: list[int], *, judge: bool) -> None:
    """Rates first, then the test classes; the headline before the rest."""
    for several in (True, False):
        group = [arm for arm in arms if (arm in HEADLINE) == several]
        for arm in group:
            print(f"  {arm.name:<50}{study.rate(arm):g}", flush=True)
        mine = seeds if several else seeds[:1]
        for seed in mine if judge else []:  # a seed of every arm before the next, in case it is interrupted
            for arm in group:
                study.cell(arm, study.rate(arm), seed, "test")
        if judge:
            show("test classes", {a.name: [study.cell(a, study.rate(a), seed, "test") for seed in mine] for a in group})


if __name__ == "__main__":
    main()

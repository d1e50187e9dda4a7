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
A single training: moml_cell.py.
Cells that the JSON file has already are not run again, so an interrupted study goes on.

    python benchmarks/moml_real.py --data FOLDER [--set atelier] [--parts PART ...] [--seeds 0 1 2] [--steps 160]
        [--epochs 2] [--size 128] [--arms NAME ...] [--json FILE] [--features FILE] [--minutes M]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from moml_cell import BATCH, KS, METRICS, Arm, Proxies, train
from products import Classes, add_blocks_argument, add_data_argument, table_of
from study import Cells, Numbers, add_cell_arguments

import fashreg
from fashreg.training.allocator import keep_freed_memory

RATES, WHOLE_RATES = (3e-4, 1e-3, 3e-3), (3e-4, 1e-3)
PROXIES = tuple(itertools.product(("proxy-anchor", "normalized-softmax"), ("random", "class-means"), (100.0, 10.0)))
RULES = ("fixed", "balanced", "uncertainty")
SHOWN = ("recall@1", "recall@10", "recall@50", "map@r", "rare@1")
PARTS = ("choose", "arms", "mining", "aims", "whole")
ATELIER = "atelier:products=600,views=4,seed=0"
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
    """The classes, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        atelier = options.set == "atelier"
        source, label = (ATELIER, "label") if atelier else (table_of(options.data), "style")
        self.classes, self.steps = Classes(source, label, options.features), options.steps
        self.epochs, self.size = options.epochs, options.size
        self.cells = Cells(options.json, lambda numbers: f"{numbers['map@r']:.4f}", options.minutes)

    def cell(self, arm: Arm, lr: float, seed: int, judged: str, proxies: Proxies | None = None) -> Numbers:
        """The numbers of one training, run unless they are known. judged: "held" or "test"."""
        proxies = proxies or self.proxies
        with_ = "" if arm.terms == "pair" else " ({}, {}, x {:g})".format(*proxies)
        key = f"{arm.name}{with_}, lr {lr:g}, seed {seed}, {judged}, steps {self.steps}"
        return self.cells.get(key, lambda: train(self.classes, arm, proxies, lr, seed, judged, self.steps))

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


def whole(study: Study, arm: Arm, lr: float, seed: int, judged: str) -> Numbers:
    """An arm with the product's own training, from pictures, nothing frozen."""
    held = {"holdout": 0.2, "test_split": "none"} if judged == "held" else {"holdout": 0.0}
    evaluators = [{"name": "retrieval", "ks": list(KS)}]
    settings = {"batch_size": BATCH, "lr": lr, "epochs": study.epochs, "checkpoint_every": 0}
    with tempfile.TemporaryDirectory() as folder:
        found = fashreg.train(
            "fashion-products", table=study.classes.source, data={"label": study.classes.label, **held},
            backbone={"name": "lite0", "image_size": study.size}, loss=arm.loss(study.proxies), sampler=arm.batches,
            evaluators=evaluators, trainer=settings, seed=seed, quiet=True, out=Path(folder) / "run",
        )  # fmt: skip
    metrics = {name: found.after.metrics[name] for name in METRICS}
    return {**metrics, "seconds_a_step": found.report.seconds / found.report.steps}


def whole_runs(study: Study, arm: Arm, seeds: list[int]) -> list[Numbers]:
    """Its rate on held-out classes, then every seed on the test classes."""

    def run(lr: float, seed: int, judged: str) -> Numbers:
        key = f"whole, {arm.name}, lr {lr:g}, seed {seed}, {judged}, epochs {study.epochs}, {study.size} px"
        return study.cells.get(key, lambda: whole(study, arm, lr, seed, judged))

    held = {lr: run(lr, 0, "held")["map@r"] for lr in WHOLE_RATES}
    best = max(held, key=lambda lr: held[lr])
    return [run(best, seed, "test") for seed in seeds]


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
    add_cell_arguments(parser)
    add_blocks_argument(parser)
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

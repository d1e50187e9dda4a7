"""Which settings make the recipe `fashion-products` good, and how good does a plain script get with its rates searched
the same way?

Every arm trains two epochs (or as many as it says) on four fifths of the training styles and is judged after each epoch
by map@r, leave-one-out, on the other fifth; the best epoch counts. The test split is never read. Each arm changes one
thing of the base, which is the recipe with its head ten times faster (as it was when the search began), or is a
pytorch-metric-learning script (peer_script.py). Arms that the JSON file already has are not run again, so a search that
was interrupted goes on.

    python benchmarks/recipe_search.py --data FOLDER [--seeds 0] [--arms NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peer_script import BATCH, Watch, peer_head, peer_whole
from products import add_data_argument, table_of

import fashreg
from fashreg.data.splits import training_tables
from fashreg.jobs.evaluation import evaluate_vectors

DATA = {"label": "style", "holdout": 0.2, "test_split": "none"}
MEMORY = {"name": "xbm", "capacity": 2048, "start_step": 20}
Curve = list[tuple[float, float]]


def ours(trainer: dict[str, Any] | None = None, **parts: Any) -> Callable[[Path, int], Curve]:
    def run(table: Path, seed: int) -> Curve:
        settings = {"epochs": 2, "head_lr_factor": 10, "checkpoint_every": 0, **(trainer or {})}
        found = fashreg.train(
            "fashion-products", table=table, data=DATA, trainer=settings, seed=seed, quiet=True, **parts
        )
        return [(line["step"], line["map@r"]) for line in found.report.history]

    return run


def peer(script: Callable[..., None], **settings: Any) -> Callable[[Path, int], Curve]:
    def run(table: Path, seed: int) -> Curve:
        train, held, _ = training_tables(DATA, source=table, seed=seed)
        assert held is not None
        retrieval = [fashreg.build("evaluator", "retrieval")]

        def judge(vectors: torch.Tensor) -> float:
            rows = torch.nn.functional.normalize(vectors.float())
            return evaluate_vectors(rows, held, retrieval).metrics["map@r"]

        watch = Watch(len(train) // BATCH)
        script(train, held, seed, watch, judge, **settings)
        return watch.curve

    return run


ARMS: dict[str, Callable[[Path, int], Curve]] = {
    "base": ours(),
    "head_lr_factor 1 (the recipe)": ours({"head_lr_factor": 1}),
    "lr 1e-4": ours({"lr": 1e-4}),
    "lr 1e-3": ours({"lr": 1e-3}),
    "freeze_batch_norm false": ours({"freeze_batch_norm": False}),
    "freeze_batch_norm false, head_lr_factor 1": ours({"freeze_batch_norm": False, "head_lr_factor": 1}),
    "out_dim 512": ours(head={"name": "projection", "out_dim": 512}),
    "2 pictures a class": ours(sampler={"name": "class-balanced", "images_per_class": 2}),
    "8 pictures a class": ours(sampler={"name": "class-balanced", "images_per_class": 8}),
    "multi-similarity mined": ours(loss={"name": "multi-similarity", "epsilon": 0.1}),
    "multi-similarity, memory": ours(memory=MEMORY),
    "contrastive, memory": ours(loss="contrastive", memory=MEMORY),
    "infonce supervised": ours(loss={"name": "infonce", "mode": "supervised", "temperature": 0.1}),
    "normalized-softmax": ours(loss="normalized-softmax"),
    "proxy-anchor": ours(loss="proxy-anchor"),
    "ema 0.98": ours({"ema_decay": 0.98}),
    "4 epochs": ours({"epochs": 4}),
    "peer head, lr 1e-3": peer(peer_head, lr=1e-3, epochs=5),
    "peer head, lr 3e-3": peer(peer_head, lr=3e-3, epochs=5),
    "peer head, lr 1e-2": peer(peer_head, lr=1e-2, epochs=5),
    "peer multi-similarity, lr 3e-4": peer(peer_whole, kind="ms", lr=3e-4, epochs=2),
    "peer multi-similarity, lr 1e-3": peer(peer_whole, kind="ms", lr=1e-3, epochs=2),
    "peer multi-similarity, lr 3e-3": peer(peer_whole, kind="ms", lr=3e-3, epochs=2),
    "peer contrastive + memory, lr 1e-4": peer(peer_whole, kind="xbm", lr=1e-4, epochs=2),
    "peer contrastive + memory, lr 3e-4": peer(peer_whole, kind="xbm", lr=3e-4, epochs=2),
    "peer contrastive + memory, lr 1e-3": peer(peer_whole, kind="xbm", lr=1e-3, epochs=2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    table = table_of(options.data)
    if options.one:
        print(json.dumps(ARMS[options.one[0]](table, int(options.one[1]))))
        return
    kept = options.json is not None and options.json.is_file()
    found: dict[str, dict[str, Any]] = json.loads(options.json.read_text()) if kept else {}
    for seed in options.seeds:
        for name in options.arms:
            if str(seed) not in found.setdefault(name, {}):
                found[name][str(seed)] = run_one(options.data, name, seed)
                if options.json is not None:
                    options.json.write_text(json.dumps(found, indent=1))
            curve = found[name][str(seed)]["curve"]
            figures = "  ".join(f"{figure:.3f}" for _, figure in curve)
            print(f"{name:<44} seed {seed}  {figures}", flush=True)
    print(f"\n{'best map@r on held-out training styles':<44}   mean    min    max")
    best = {
        name: [max(f for _, f in found[name][str(seed)]["curve"]) for seed in options.seeds] for name in options.arms
    }
    for name, runs in sorted(best.items(), key=lambda item: -statistics.mean(item[1])):
        print(f"{name:<44}  {statistics.mean(runs):.3f}  {min(runs):.3f}  {max(runs):.3f}")


def run_one(data: Path, name: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", str(data), "--one", name, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return {"curve": json.loads(done.stdout.splitlines()[-1])}


if __name__ == "__main__":
    main()

"""What does the shipped recipe `fashion-products` reach on the test styles, which training never saw?

Prints recall@1, recall@10 and map@r (leave-one-out within the test split) of the untouched ImageNet network, of the
head alone on cached features, and of the recipe; the last two for each seed, with mean and range.

    python benchmarks/fashion_products.py --data FOLDER [--seeds 0 1 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from products import add_data_argument, table_of

import fashreg
from fashreg.jobs.evaluation import evaluate_vectors

METRICS = ("recall@1", "recall@10", "map@r")
HEAD_ONLY = {
    "freeze": "backbone",
    "cache": "features",
    "cache_views": 1,
    "epochs": 5,
    "lr": 3e-3,
    "head_lr_factor": 1,
    "warmup_steps": 0,
}


def untouched(table: Path, size: int) -> dict[str, float]:
    """The pooled features of the pretrained backbone, nothing trained."""
    backbone = fashreg.build("backbone", "lite0", image_size=size)

    class Identity(torch.nn.Identity):
        in_dim = out_dim = backbone.out_dim
        takes, unit, tasks = "pooled", True, ()

        def forward(self, features: torch.Tensor, task: str | None = None) -> torch.Tensor:
            return torch.nn.functional.normalize(features)

    encoder = fashreg.Encoder(backbone, Identity())
    rows = fashreg.read_table(table, {"label": "style"}, split="test")
    return evaluate_vectors(encoder.embed(rows), rows, [fashreg.build("evaluator", "retrieval")]).metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", default="fashion-products")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    table = table_of(options.data)
    rows: list[dict[str, object]] = []

    def show(name: str, seed: object, metrics: dict[str, float], seconds: float | None) -> None:
        rows.append({"arm": name, "seed": seed, "seconds": seconds, **{m: metrics[m] for m in METRICS}})
        figures = "".join(f"{metrics[m]:>11.4f}" for m in METRICS)
        print(f"{name:<28}{seed!s:>5}{figures}{'' if seconds is None else f'{seconds:>9.0f}'}", flush=True)

    print(f"{'arm':<28}{'seed':>5}" + "".join(f"{m:>11}" for m in METRICS) + f"{'seconds':>9}")
    for size in (128, 224):
        show(f"ImageNet lite0, {size} px", "-", untouched(table, size), None)
    for name, trainer in (("head alone, cached", HEAD_ONLY), (options.recipe, None)):
        found = []
        os.environ["FASHREG_CACHE"] = tempfile.mkdtemp()  # the first seed fills the cache, the others use it
        for seed in options.seeds:
            start = time.perf_counter()
            given = {} if trainer is None else {"trainer": trainer}
            run = fashreg.train(options.recipe, table=table, label="style", seed=seed, quiet=True, **given)
            assert run.after is not None
            found.append(run.after.metrics)
            show(name, seed, run.after.metrics, time.perf_counter() - start)
        for what, pick in (("mean", lambda v: sum(v) / len(v)), ("min", min), ("max", max)):
            show(f"{name}, {what}", "", {m: pick([f[m] for f in found]) for m in METRICS}, None)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

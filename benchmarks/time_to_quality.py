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

from products import add_data_argument, recall_at_1, table_of

GOALS = (0.57, 0.60)
SIZE, WIDTH, BATCH = 128, 128, 64


class Enough(Exception):  # noqa: N818 - a signal, not an error
    """The last goal is reached; the arm may stop."""


class Watch:
    """A clock that stands still while it judges, and ends the arm when the last goal is reached."""

    def __init__(self, judge: Callable[[], float], every: int) -> None:
        self.judge, self.every = judge, every
        self.start, self.paused = time.perf_counter(), 0.0
        self.curve: list[tuple[float, float]] = []

    def look(self, step: int) -> None:
        if step % self.every == 0:
            now = time.perf_counter()
            self.curve.append((now - self.start - self.paused, self.judge()))
            self.paused += time.perf_counter() - now
            if self.curve[-1][1] >= GOALS[-1]:
                raise Enough

    def reached(self, goal: float) -> float | None:
        return next((seconds for seconds, recall in self.curve if recall >= goal), None)


# ---- fashreg ----


def fashreg_arm(table: Path, seed: int, every: int, **changes: Any) -> Watch:
    """The shipped recipe, with a learner that looks at the test split now and then."""
    import torch

    import fashreg
    from fashreg.learners.standard import StandardLearner

    test = fashreg.read_table(table, {"label": "style"}, split="test")
    pictures = judged_pictures(table)
    labels = torch.from_numpy(test.labels)
    watch = Watch(lambda: 0.0, every)

    class Watched(StandardLearner):
        def stepped(self, step: int) -> None:
            encoder = self.session.encoder
            watch.judge = lambda: recall_at_1(embedded(encoder, pictures), labels)
            watch.look(step)

    def embedded(encoder: Any, images: torch.Tensor) -> torch.Tensor:
        with encoder.evaluating(), torch.inference_mode():
            return torch.cat([encoder(part) for part in images.split(BATCH)])

    watch.start = time.perf_counter()
    data = {"label": "style", "test_split": "none"}
    with contextlib.suppress(Enough):
        fashreg.train("fashion-products", table=table, data=data, seed=seed, learner=Watched(), quiet=True, **changes)
    return watch


# ---- the peer: a plain script as its users write it ----


def peer_arm(table: Path, seed: int, every: int, kind: str, lr: float, epochs: int) -> Watch:
    """timm network + linear layer + AdamW with a loss of pytorch-metric-learning.

    kind: head (features once, then the linear layer), ms (multi-similarity with its miner), xbm (contrastive with a
    memory of 2,048), ours (multi-similarity with the settings of our recipe: batch norm frozen, head ten times faster).
    """
    import timm
    import torch
    from pytorch_metric_learning import losses, miners, samplers
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    import fashreg
    from fashreg.training.allocator import keep_freed_memory

    keep_freed_memory()
    torch.manual_seed(seed)
    train = fashreg.read_table(table, {"label": "style"}, split="train")
    test = fashreg.read_table(table, {"label": "style"}, split="test")
    pictures, labels = judged_pictures(table), torch.from_numpy(test.labels)
    backbone = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    backbone.load_state_dict(imagenet_weights())
    network = torch.nn.Sequential(backbone, torch.nn.Linear(1280, WIDTH))
    watch = Watch(lambda: recall_at_1(embedded(network, pictures), labels), every)
    watch.start = time.perf_counter()

    class Pictures(Dataset):  # type: ignore[type-arg]
        def __init__(self, transform: Any) -> None:
            self.transform = transform

        def __len__(self) -> int:
            return len(train)

        def __getitem__(self, i: int) -> Any:
            from PIL import Image

            return self.transform(Image.open(train.paths[i]).convert("RGB")), int(train.labels[i])

    norm = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]

    def embedded(model: Any, images: torch.Tensor) -> torch.Tensor:
        model.eval()
        with torch.inference_mode():
            found = torch.cat([model(part) for part in images.split(BATCH)])
        model.train()
        return found

    torch.multiprocessing.set_sharing_strategy("file_system")
    if kind == "head":  # frozen network: features once, then the linear layer on them
        plain = v2.Compose([v2.Resize((SIZE, SIZE), interpolation=v2.InterpolationMode.BICUBIC), *norm])
        loader = DataLoader(Pictures(plain), batch_size=BATCH, num_workers=1)
        backbone.eval()
        with torch.inference_mode():
            features = torch.cat([backbone(x) for x, _ in loader])
        now = time.perf_counter()  # the test features serve judging only
        judged = embedded(backbone, pictures)
        watch.paused += time.perf_counter() - now
        features, judged = features.clone(), judged.clone()
        head, miner = network[1], None
        watch.judge = lambda: recall_at_1(head(judged).detach(), labels)
        loss: Any = losses.MultiSimilarityLoss()
        parameters = list(head.parameters())
    else:
        crop = v2.RandomResizedCrop(SIZE, scale=(0.6, 1.0), ratio=(0.8, 1.25), antialias=True)
        transform = v2.Compose([crop, v2.RandomHorizontalFlip(), *norm])
        network.train()
        parameters = list(network.parameters())
        miner = miners.MultiSimilarityMiner() if kind == "ms" else None
        loss = losses.MultiSimilarityLoss()
        if kind == "xbm":
            loss = losses.CrossBatchMemory(losses.ContrastiveLoss(), WIDTH, memory_size=2048)
    groups: list[dict[str, Any]] = [{"params": parameters, "lr": lr}]
    if kind == "ours":
        head_parameters = list(network[1].parameters())
        groups = [{"params": list(backbone.parameters()), "lr": lr}, {"params": head_parameters, "lr": 10 * lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    step = 0
    for _ in range(epochs):
        sampler = samplers.MPerClassSampler(train.labels, 4, BATCH, len(train) // BATCH * BATCH)
        if kind == "head":
            order = torch.tensor(list(sampler)).split(BATCH)
            batches: Any = ((features[p], torch.from_numpy(train.labels)[p]) for p in order)
        else:
            batches = DataLoader(Pictures(transform), batch_size=BATCH, sampler=sampler, num_workers=1)
        for x, y in batches:
            if kind == "ours":
                for module in backbone.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):
                        module.eval()
            z = head(x) if kind == "head" else network(x)
            value = loss(z, y, miner(z, y)) if miner is not None else loss(z, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            step += 1
            try:
                watch.look(step)
            except Enough:
                return watch
    return watch


def imagenet_weights() -> dict[str, Any]:
    from fashreg_lite0.weights import imagenet_state, weight_file

    return imagenet_state(weight_file())


def judged_pictures(table: Path) -> Any:
    """The test pictures as tensors, prepared outside the clock: they serve judging only."""
    import numpy as np
    import torch
    from PIL import Image

    import fashreg

    test = fashreg.read_table(table, {"label": "style"}, split="test")
    rows = [np.asarray(Image.open(p).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for p in test.paths]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


HEAD = {"freeze": "backbone", "cache": "features", "epochs": 5, "lr": 3e-3, "head_lr_factor": 1, "batch_size": BATCH}
ARMS: dict[str, Callable[[Path, int], Watch]] = {
    "fashreg, head on cached features": lambda t, s: fashreg_arm(t, s, 10, trainer=HEAD),
    "fashreg, recipe fashion-products": lambda t, s: fashreg_arm(t, s, 10),
    "peer, head on cached features": lambda t, s: peer_arm(t, s, 10, "head", 3e-3, 5),
    "peer, whole, multi-similarity": lambda t, s: peer_arm(t, s, 10, "ms", 3e-4, 3),
    "peer, whole, contrastive + memory": lambda t, s: peer_arm(t, s, 10, "xbm", 3e-4, 3),
    "peer, whole, our settings": lambda t, s: peer_arm(t, s, 10, "ours", 3e-4, 1),
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

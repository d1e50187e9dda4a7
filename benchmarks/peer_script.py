"""A plain script with pytorch-metric-learning as its users write it, for benchmarks that compare with it.

The same network, weights, input size, embedding width and allocator setting as the shipped recipe; `time_to_quality.py`
and `recipe_search.py` run it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import timm
import torch
from fashreg_lite0.weights import imagenet_state, weight_file
from PIL import Image
from pytorch_metric_learning import losses, miners, samplers
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fashreg.data.table import Table
from fashreg.training.allocator import keep_freed_memory

SIZE, WIDTH, BATCH = 128, 128, 64
NORM = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
PLAIN = v2.Compose([v2.Resize((SIZE, SIZE), interpolation=v2.InterpolationMode.BICUBIC), *NORM])
CROP = v2.RandomResizedCrop(SIZE, scale=(0.6, 1.0), ratio=(0.8, 1.25), antialias=True)
AUGMENTED = v2.Compose([CROP, v2.RandomHorizontalFlip(), *NORM])

Judge = Callable[[torch.Tensor], float]  # a figure for embeddings of the judged table


class Enough(Exception):  # noqa: N818 - a signal, not an error
    """The last goal is reached; the arm may stop."""


class Watch:
    """A clock that stands still while it judges and ends the arm when the goal is reached.

    It judges every `every` steps, and twice as often within the first `early` steps.
    """

    def __init__(self, every: int, goal: float | None = None, early: int = 0) -> None:
        self.every, self.goal, self.early = every, goal, early
        self.start, self.paused = time.perf_counter(), 0.0
        self.curve: list[tuple[float, float]] = []

    def look(self, step: int, judge: Callable[[], float]) -> None:
        if step % (self.every if step > self.early else max(1, self.every // 2)) == 0:
            now = time.perf_counter()
            self.curve.append((now - self.start - self.paused, judge()))
            self.paused += time.perf_counter() - now
            if self.goal is not None and self.curve[-1][1] >= self.goal:
                raise Enough

    def reached(self, goal: float) -> float | None:
        return next((seconds for seconds, figure in self.curve if figure >= goal), None)


class Pictures(Dataset):  # type: ignore[type-arg]
    def __init__(self, table: Table, transform: Any) -> None:
        self.table, self.transform = table, transform

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> Any:
        return self.transform(Image.open(self.table.paths[i]).convert("RGB")), int(self.table.labels[i])


def judged_pictures(table: Table) -> torch.Tensor:
    """The pictures that judge, as tensors; prepared outside the clock."""
    size, how = (SIZE, SIZE), Image.Resampling.BICUBIC
    rows = [np.asarray(Image.open(p).convert("RGB").resize(size, how)) for p in table.paths]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def embedded(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    training = model.training
    model.eval()
    with torch.inference_mode():
        found = torch.cat([model(part) for part in images.split(BATCH)])
    model.train(training)
    return found.clone()


def networks() -> tuple[torch.nn.Module, torch.nn.Linear]:
    backbone = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    backbone.load_state_dict(imagenet_state(weight_file()))
    return backbone, torch.nn.Linear(1280, WIDTH)


def sampler_of(train: Table) -> Any:
    return samplers.MPerClassSampler(train.labels, 4, BATCH, len(train) // BATCH * BATCH)


def peer_head(train: Table, judged: Table, seed: int, watch: Watch, judge: Judge, lr: float, epochs: int) -> None:
    """Frozen network: features once, then the linear layer alone on them, with multi-similarity."""
    keep_freed_memory()
    torch.manual_seed(seed)
    pictures = judged_pictures(judged)
    backbone, head = networks()
    judged_features = embedded(backbone, pictures)
    watch.start = time.perf_counter()
    loader = DataLoader(Pictures(train, PLAIN), batch_size=BATCH, num_workers=1)
    backbone.eval()
    with torch.inference_mode():
        found = torch.cat([backbone(x) for x, _ in loader])
    features, targets = found.clone(), torch.from_numpy(train.labels)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-4)
    loss, step = losses.MultiSimilarityLoss(), 0
    for _ in range(epochs):
        for rows in torch.tensor(list(sampler_of(train))).split(BATCH):
            optimizer.zero_grad()
            loss(head(features[rows]), targets[rows]).backward()
            optimizer.step()
            step += 1
            try:
                watch.look(step, lambda: judge(head(judged_features).detach()))
            except Enough:
                return


def peer_whole(
    train: Table, judged: Table, seed: int, watch: Watch, judge: Judge, lr: float, epochs: int, kind: str
) -> None:
    """The whole network.

    kind: ms (multi-similarity with its miner), xbm (contrastive with a memory of 2,048), ours (multi-similarity with
    the settings of our recipe: batch norm frozen).
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    pictures = judged_pictures(judged)
    watch.start = time.perf_counter()
    backbone, head = networks()
    network = torch.nn.Sequential(backbone, head).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-4)
    loss: Any = losses.MultiSimilarityLoss()
    if kind == "xbm":
        loss = losses.CrossBatchMemory(losses.ContrastiveLoss(), WIDTH, memory_size=2048)
    miner = miners.MultiSimilarityMiner() if kind == "ms" else None
    for step, (x, y) in enumerate(batches(train, epochs), 1):
        if kind == "ours":
            for module in backbone.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        z = network(x)
        value = loss(z, y, miner(z, y)) if miner is not None else loss(z, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        try:
            watch.look(step, lambda: judge(embedded(network, pictures)))
        except Enough:
            return


def batches(train: Table, epochs: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    torch.multiprocessing.set_sharing_strategy("file_system")
    for _ in range(epochs):
        yield from DataLoader(Pictures(train, AUGMENTED), batch_size=BATCH, sampler=sampler_of(train), num_workers=1)

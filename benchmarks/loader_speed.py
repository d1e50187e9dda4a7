"""How fast do training pictures come, and how long does a model wait for them?

Three questions about training batches at 128 px (random resized crop, flip):
1. pictures per second when nothing consumes them, by number of threads, from files and from the decoded store, beside
   torch's DataLoader with the same dataset in worker processes;
2. the share of time that a model waits which needs so many milliseconds per picture but no processor (an accelerator);
3. pictures per second of a network that trains on the same processors, as a share of its speed on one cached batch.

    python benchmarks/loader_speed.py [--table FILE] [--label style] [--batches 20] [--json FILE]

Without --table: fashion-products in the folder FASHREG_DATA, else a small Atelier set.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fashreg.data.decoded import decoded_pictures, short_side_for
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.prefetch import default_workers
from fashreg.data.table import Table, read_table
from fashreg.data.transforms import normalised, training_transform
from fashreg.values import InputSpec

BATCH = 64
SPEC = InputSpec(size=(128, 128))
MODEL_MS = (0.5, 1.0, 2.0, 5.0)  # per picture


class Items(torch.utils.data.Dataset[Any]):
    """The same pictures one by one, for torch's DataLoader."""

    def __init__(self, dataset: TableDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Any:
        return self.dataset.pixels(position)


def torchs_loader(dataset: TableDataset, batches: list[list[int]], workers: int) -> Iterator[torch.Tensor]:
    loader = torch.utils.data.DataLoader(
        Items(dataset),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=lambda items: torch.from_numpy(np.stack([normalised(item, SPEC) for item in items])),
    )
    yield from loader


def ours(dataset: TableDataset, batches: list[list[int]], workers: int | None) -> Iterator[torch.Tensor]:
    for batch in training_batches(dataset, batches, workers=workers):
        yield batch.images


def speed(source: Iterable[torch.Tensor]) -> float:
    begun, pictures = time.perf_counter(), 0
    for images in source:
        pictures += len(images)
    return pictures / (time.perf_counter() - begun)


def waiting(source: Iterator[torch.Tensor], seconds_per_batch: float) -> float:
    """The share of time that a model waits which sleeps for its work; the first batch is not counted."""
    next(source)
    waited, begun = 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        if next(source, None) is None:
            return waited / (time.perf_counter() - begun)
        waited += time.perf_counter() - asked
        time.sleep(seconds_per_batch)


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96), (96, 192)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def busy(source: Callable[[], Iterator[torch.Tensor]]) -> tuple[float, float]:
    """Pictures per second of training on what the source gives, and on its first batch again and again."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def step(images: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()

    def run(images: Iterable[torch.Tensor]) -> float:
        begun, pictures = time.perf_counter(), 0
        for batch in images:
            step(batch)
            pictures += len(batch)
        return pictures / (time.perf_counter() - begun)

    first = next(source())
    step(first)
    fed, cached = [], []
    for _ in range(2):  # in turn, so that a change of the machine's load meets both
        fed.append(run(source()))
        cached.append(run([first] * 8))
    return max(fed), max(cached)


def opened(options: argparse.Namespace, scratch: str) -> Table:
    folder = os.environ.get("FASHREG_DATA", "")
    known = Path(folder, "fashion-products", "products.csv")
    if options.table:
        return read_table(options.table, {"label": options.label}, split="train")
    if folder and known.exists():
        return read_table(known, {"label": "style"}, split="train")
    os.environ["FASHREG_CACHE"] = scratch
    return read_table("atelier:products=100", split="train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table")
    parser.add_argument("--label", default="style")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = opened(options, scratch)
        batches = [[(b * BATCH + i) % len(table) for i in range(BATCH)] for b in range(options.batches)]
        transform = training_transform(SPEC)
        files = TableDataset(table, transform)
        store = decoded_pictures(table, short_side_for(SPEC, transform.augment), folder=Path(scratch))
        decoded = TableDataset(table, transform, decoded=store)
        report(options, table, files, decoded, batches)


def report(
    options: argparse.Namespace, table: Table, files: TableDataset, decoded: TableDataset, batches: list[list[int]]
) -> None:
    speeds: dict[str, float] = {}
    for workers in (0, 1, 2, 4):
        speeds[f"files, {workers} threads"] = speed(ours(files, batches, workers))
    for workers in (0, 2):
        speeds[f"decoded store, {workers} threads"] = speed(ours(decoded, batches, workers))
        speeds[f"torch DataLoader, {workers} processes"] = speed(torchs_loader(files, batches, workers))
    print(f"{table.source}: {len(table):,} pictures; {default_workers()} threads by default")
    print("\npictures per second, nothing consumes them")
    for name, value in speeds.items():
        print(f"  {name:<32}{value:>8.0f}")
    print("\nshare of time that a model waits which needs no processor")
    waits = {ms: waiting(ours(files, batches, None), ms * BATCH / 1000) for ms in MODEL_MS}
    for ms, share in waits.items():
        print(f"  {ms:>5.1f} ms a picture{share:>17.3f}")
    fed, cached = busy(lambda: ours(files, batches[:8], None))
    print("\na network that trains on the same processors, pictures per second")
    print(f"  fed {fed:.0f}, one cached batch {cached:.0f}, ratio {fed / cached:.3f}")
    if options.json:
        facts = {"table": table.source, "pictures": len(table), "threads": default_workers(), "speeds": speeds}
        facts |= {"waits": {str(ms): share for ms, share in waits.items()}, "fed": fed, "cached": cached}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The fashion-products table for benchmarks: where it is, how an embedding of the test split is judged, a network of
which only the last stages are trained, and the blocks that its frozen stages make of the pictures.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import fashreg
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.splits import hold_out, training_tables
from fashreg.data.table import Table
from fashreg.data.transforms import evaluation_transform, training_transform

CUT = 7  # stages of lite0 that `new_encoder` freezes: the stem to blocks.5
VIEWS = 3  # of each picture that is trained on: as at evaluation, and two varied as in training


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data FOLDER` or the environment variable FASHREG_DATA: the folder that holds fashion-products/."""
    default = os.environ.get("FASHREG_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None, help="folder of the data")


def add_blocks_argument(parser: argparse.ArgumentParser) -> None:
    """`--features FILE`."""
    parser.add_argument("--features", type=Path, help="safetensors file that keeps the cached features")


def table_of(data: Path) -> Path:
    """products.csv below the folder, or in it."""
    for path in (data / "fashion-products" / "products.csv", data / "products.csv"):
        if path.is_file():
            return path
    raise SystemExit(f"no fashion-products/products.csv in {data}")


def recall_at_1(vectors: Tensor, labels: Tensor) -> float:
    """Leave-one-out, cosine; plain torch, so that every arm is judged by the same few lines."""
    rows = torch.nn.functional.normalize(vectors.float())
    scores = rows @ rows.T
    scores.fill_diagonal_(-2)
    return float((labels[scores.argmax(1)] == labels).float().mean())


def new_encoder(seed: int) -> fashreg.Encoder:
    """EfficientNet-Lite0 at 128 px with ImageNet weights, its first CUT stages frozen, and a projection to 128."""
    torch.manual_seed(seed)
    backbone = fashreg.build("backbone", "lite0", image_size=128)
    encoder = fashreg.Encoder(backbone, fashreg.build("head", "projection", in_dim=backbone.out_dim, out_dim=128))
    for index in range(CUT):
        for module in backbone.stage_modules(index):
            module.requires_grad_(False)
    return encoder.eval()  # batch norm's statistics stay; nothing else here knows the mode


@torch.inference_mode()
def prefix(encoder: fashreg.Encoder, table: Table, view: int) -> Tensor:
    """(N, C, h, w): what the frozen stages make of one view of every picture. View 0 is that of evaluation."""
    spec = encoder.input_spec
    data = TableDataset(table, training_transform(spec) if view else evaluation_transform(spec))
    rows = torch.arange(len(table)).split(64)
    batches = training_batches(data, [part.tolist() for part in rows], epoch=view, workers=1)
    return torch.cat([encoder.until(batch.images, CUT).contiguous() for batch in batches]).clone()


def once(file: Path | None, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives; kept in this safetensors file and read from it, where one is named."""
    if file is not None and file.is_file():
        return load_file(file)
    made = make()
    if file is not None:
        save_file(made, file)
    return made


class Classes:
    """What a study of classes trains on and judges, and the blocks of its pictures. kept: the file of the blocks."""

    def __init__(self, source: str | Path, label: str = "style", kept: Path | None = None) -> None:
        self.source, self.label, self.kept = source, label, kept

    @cached_property
    def train(self) -> Table:
        """All training classes."""
        return training_tables({"label": self.label, "test_split": "none"}, source=self.source).train

    @cached_property
    def parts(self) -> dict[str, tuple[Table, Table]]:
        """What is trained on and judged, by what is judged: "held", a fifth of the training classes, or "test"."""
        test = fashreg.read_table(self.source, {"label": self.label}, split="test")
        return {"held": hold_out(self.train, 0.2, 0), "test": (self.train, test)}

    @cached_property
    def _blocks(self) -> dict[str, Tensor]:
        """(VIEWS, C, h, w) by the path of a picture; those that are only judged have one view."""
        made, tables = once(self.kept, self._made), {"train": self.train, "test": self.parts["test"][1]}
        return {path: row for name in tables for path, row in zip(tables[name].paths, made[name], strict=True)}

    def _made(self) -> dict[str, Tensor]:
        encoder = new_encoder(0)
        views = {"train": (self.train, range(VIEWS)), "test": (self.parts["test"][1], range(1))}
        return {
            name: torch.stack([prefix(encoder, table, view) for view in of], 1).contiguous()
            for name, (table, of) in views.items()
        }

    def blocks(self, table: Table) -> Tensor:
        """(N, VIEWS, C, h, w) of pictures to train on."""
        return torch.stack([self._blocks[path] for path in table.paths])

    def judged_blocks(self, table: Table) -> Tensor:
        """(N, C, h, w): the view of evaluation."""
        return torch.stack([self._blocks[path][0] for path in table.paths])

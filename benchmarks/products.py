"""The fashion-products table for benchmarks: where it is, a network of which only the last stages are trained, and how
an embedding of the test split is judged.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

import fashreg
from fashreg.data.loader import TableDataset, training_batches
from fashreg.data.table import Table
from fashreg.data.transforms import evaluation_transform, training_transform

CUT = 7  # stages of lite0 that `new_encoder` freezes: the stem to blocks.5


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data FOLDER` or the environment variable FASHREG_DATA: the folder that holds fashion-products/."""
    default = os.environ.get("FASHREG_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None, help="folder of the data")


def table_of(data: Path) -> Path:
    """products.csv below the folder, or in it."""
    for path in (data / "fashion-products" / "products.csv", data / "products.csv"):
        if path.is_file():
            return path
    raise SystemExit(f"no fashion-products/products.csv in {data}")


def recall_at_1(vectors: torch.Tensor, labels: torch.Tensor) -> float:
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
def prefix(encoder: fashreg.Encoder, table: Table, view: int) -> torch.Tensor:
    """(N, C, h, w): what the frozen stages make of one view of every picture. View 0 is that of evaluation."""
    spec = encoder.input_spec
    data = TableDataset(table, training_transform(spec) if view else evaluation_transform(spec))
    rows = torch.arange(len(table)).split(64)
    batches = training_batches(data, [part.tolist() for part in rows], epoch=view, workers=1)
    return torch.cat([encoder.until(batch.images, CUT).contiguous() for batch in batches]).clone()

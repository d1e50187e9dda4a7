"""Measure lite0 as it comes: `python measure.py FOLDER [SIZE ...]`, FOLDER with products.csv (image, split, style)."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import torch
from fashreg_lite0.backbone import Lite0Backbone
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms


def embed(backbone: Lite0Backbone, paths: list[Path]) -> Tensor:
    """Unit features (N, F) of pictures resized whole, as `crop=1.0` wants."""
    spec = backbone.input_spec
    rows = []
    for start in range(0, len(paths), 64):
        pictures = []
        for path in paths[start : start + 64]:
            picture = Image.open(path).convert("RGB").resize(spec.size[::-1], Image.Resampling.BICUBIC)
            tensor = transforms.to_dtype(transforms.pil_to_tensor(picture), torch.float32, scale=True)
            pictures.append(transforms.normalize(tensor, list(spec.mean), list(spec.std)))
        with torch.inference_mode():
            rows.append(backbone(torch.stack(pictures)))
    return torch.nn.functional.normalize(torch.cat(rows).double())


def leave_one_out(vectors: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """recall@1, recall@10, map@r with every picture as query and all others as gallery."""
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    order = scores.argsort(dim=1, descending=True)[:, :-1]
    hits = labels[order] == labels[:, None]
    relevant = hits.sum(1, keepdim=True)
    ranks = torch.arange(1, hits.shape[1] + 1)
    precision = hits.cumsum(1) / ranks * hits * (ranks <= relevant)
    mean_average = (precision.sum(1, keepdim=True) / relevant)[relevant > 0].mean()
    return hits[:, 0].double().mean().item(), hits[:, :10].any(1).double().mean().item(), mean_average.item()


def main() -> None:
    """Print one line per picture size."""
    folder = Path(sys.argv[1])
    with (folder / "products.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == "test"]
    names = sorted({row["style"] for row in rows})
    labels = torch.tensor([names.index(row["style"]) for row in rows])
    for size in [int(text) for text in sys.argv[2:]] or [224, 128]:
        start = time.perf_counter()
        backbone = Lite0Backbone(image_size=size).eval()
        found = leave_one_out(embed(backbone, [folder / row["image"] for row in rows]), labels)
        text = " ".join(
            f"{name} {value:.4f}" for name, value in zip(("recall@1", "recall@10", "map@r"), found, strict=True)
        )
        print(f"{size} px: {text} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

"""How the folders in `1/` were made: `python tests/formats/make_format_1.py`, with fashreg 0.1.0 at commit cf06879.

Kept for the record. Later versions write a later format, so running it again would not give the same folders; it
refuses to write over them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

import fashreg
from fashreg.backbones.timm import TimmBackbone
from fashreg.encoder import Encoder
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.storage import save_encoder
from fashreg.strict_tensors import write_tensors

HERE = Path(__file__).parent / "1"
SIDE, PICTURES = 32, 12


def main() -> None:
    """Three models, two indexes, an evaluation, and what the models made of two pictures."""
    HERE.mkdir()
    encoders = {
        "model": encoder(lambda width: ProjectionHead(8, in_dim=width, seed=3)),
        "tasks": encoder(tasks),
        "plugin": encoder(lambda width: fashreg.build("head", "gem", out_dim=4, in_dim=width), pooled=False),
    }
    save_encoder(
        encoders["model"],
        HERE / "model",
        recipe={"description": "small things", "backbone": "timm", "head": "projection", "loss": "contrastive"},
        metrics={"recall@1": 0.61234},
        provenance={"data": {"fingerprint": "abc", "images": 36}, "loss": "contrastive", "seed": 3},
    )
    save_encoder(encoders["tasks"], HERE / "tasks", provenance={"seed": 4})
    save_encoder(encoders["plugin"], HERE / "plugin")
    table = drawn(Path("/tmp/shop"))
    for name in ("exact", "faiss"):
        options = {"name": "faiss", "factory": "HNSW8"} if name == "faiss" else name
        fashreg.build_index(encoders["model"], table, HERE / f"index-{name}", index=options, progress=False)
    save_evaluation(fashreg.evaluate(encoders["model"], table, progress=False), HERE / "evaluation")
    said(encoders)


def encoder(head, *, pooled: bool = True) -> Encoder:
    """Weights are whole multiples of 1/64, so that the files are small when they are packed."""
    backbone = TimmBackbone("test_efficientnet", weights=None, image_size=SIDE, seed=3)
    made = Encoder(backbone, head(backbone.out_dim if pooled else backbone.map_dim))
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.is_floating_point() and not name.endswith("power"):
                value.copy_((value * 64).round() / 64 + (0.25 if "running_mean" in name else 0.0))
    return made.eval()


def tasks(width: int) -> MultiTaskHead:
    head = MultiTaskHead(("colour",), out_dim=4, in_dim=width)
    head.add_task("sleeve length")
    return head


def drawn(folder: Path) -> pd.DataFrame:
    """Twelve pictures of noise in three classes."""
    folder.mkdir()
    random = torch.Generator().manual_seed(7)
    rows = []
    for number in range(PICTURES):
        pixels = torch.randint(0, 256, (SIDE, SIDE, 3), dtype=torch.uint8, generator=random)
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
        rows.append({"image": str(folder / f"{number}.png"), "label": "abc"[number % 3], "colour": "xy"[number % 2]})
    return pd.DataFrame(rows)


def said(encoders: dict[str, Encoder]) -> None:
    """Two pictures, their embeddings by every model and task, and the fingerprints."""
    pictures = (torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 8).round() / 8
    vectors = {
        f"{name}:{task or ''}": made.embed(pictures, task=task)
        for name, made in encoders.items()
        for task in (made.head.tasks or (None,))
    }
    write_tensors(HERE / "embedded.safetensors", {"pictures": pictures, **vectors})
    fingerprints = {name: made.fingerprint() for name, made in encoders.items()}
    text = json.dumps({"fashreg": fashreg.__version__, "fingerprints": fingerprints}, indent=2)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

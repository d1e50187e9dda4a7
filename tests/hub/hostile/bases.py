"""The good folders that hostile ones are made from: small, and each of a kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from fashreg.assembly import spec_of
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.indexes.exact import ExactIndex
from fashreg.indexes.faiss import FaissIndex
from fashreg.indexes.folder import save_index
from fashreg.jobs.evaluation_folder import save_evaluation
from fashreg.jobs.evaluation_result import Evaluation, Neighbours, PerQuery, StoredVectors
from fashreg.protocol import Protocol
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder

_RECIPE = {"data": {"table": "shop.csv"}, "backbone": "timm", "seed": 3}


def model(folder: Path) -> None:
    """An encoder with a recipe and numbers."""
    save_encoder(tiny_encoder(), folder, recipe=_RECIPE, metrics={"recall@1": 0.5}, provenance={"data": {"images": 36}})


def tasks(folder: Path) -> None:
    """An encoder with a head for each of two tasks."""
    encoder = tiny_encoder()
    encoder.head = MultiTaskHead(("colour", "sleeve"), out_dim=8, in_dim=encoder.backbone.out_dim)
    save_encoder(encoder, folder)


def exact(folder: Path) -> None:
    """An index without structure, with items."""
    _index(ExactIndex(embed_dim=4), folder)


def graph(folder: Path) -> None:
    """An index with the links of a graph."""
    _index(FaissIndex(kind="hnsw", embed_dim=4), folder)


def lists(folder: Path) -> None:
    """An index with inverted lists and code books."""
    _index(FaissIndex("IVF4,PQ2x4", train_min=40, embed_dim=4), folder)


def _index(index: ExactIndex | FaissIndex, folder: Path, rows: int = 64) -> None:
    index.add(torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)), torch.arange(rows))
    items = [{"id": i, "image": f"{i}.jpg", "label": "ab"[i % 2]} for i in range(rows)]
    save_index(index, folder, items=items, model_fingerprint="f" * 64, spec=spec_of(index), extra={"task": None})


def evaluation(folder: Path) -> None:
    """A result with everything behind it."""
    ids = torch.tensor([3, 5, 8])
    save_evaluation(
        Evaluation(
            metrics={"recall@1": 0.5, "map@r": 0.25},
            primary="recall@1",
            protocol=Protocol(data="f" * 64, rule="leave-one-out", label="style", source="t.csv"),
            counts={"queries": 3, "gallery": 3},
            intervals={"recall@1": (0.1, 0.9)},
            slices={"season": {"summer": {"recall@1": 0.5, "support": 2}}},
            per_query=PerQuery(ids, {"recall@1": torch.tensor([0.0, 1.0, 0.5]).double()}),
            neighbours=Neighbours(ids, torch.tensor([[5], [3], [-1]]), torch.tensor([[0.5], [0.5], [-torch.inf]])),
            items=[{"id": i, "image": f"/{i}.jpg", "label": "a"} for i in ids.tolist()],
            vectors=StoredVectors(ids, torch.eye(3)),
        ),
        folder,
    )


BASES: dict[str, Callable[[Path], None]] = {
    made.__name__: made for made in (model, tasks, exact, graph, lists, evaluation)
}


def first_tensor(folder: Path) -> str:
    """Name of a float tensor of the model's weights."""
    raw = (folder / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return next(n for n, e in sorted(header.items()) if n != "__metadata__" and e["dtype"] == "F32")

"""What is measured when an index is built, and folders that are not what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from index_shop import N, built

from fashreg.encoder import Encoder
from fashreg.errors import DataError, FashregError, ModelError
from fashreg.jobs import indexing
from fashreg.jobs.index_changes import delete_from_index, describe_index
from fashreg.jobs.indexing import load_index, measure
from fashreg.manifest import write_manifest
from fashreg.values import Rankings


def test_recall_is_measured_stored_and_tuned(shop: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(indexing, "_K", 1)
    spec = {"name": "faiss", "factory": "IVF8,Flat", "nprobe": 1, "train_min": 8}
    built(shop, tmp_path / "a", index=spec)
    narrow = describe_index(tmp_path / "a")["recall"]
    assert (narrow["queries"], narrow["rows"]) == (N, N)
    assert narrow["recall@1"] < 1.0
    built(shop, tmp_path / "b", index=spec, recall=1.0)
    assert describe_index(tmp_path / "b")["recall"]["recall@1"] == 1.0
    assert describe_index(tmp_path / "b")["options"]["nprobe"] > 1
    assert load_index(tmp_path / "b").index.nprobe == describe_index(tmp_path / "b")["options"]["nprobe"]


def test_a_recall_that_no_breadth_reaches_is_refused() -> None:
    class Forgetful:
        embed_dim = 4

        def __len__(self) -> int:
            return 4

        def vectors(self) -> Any:
            return torch.eye(4), torch.arange(4)

        def search(self, vectors: Any, k: int, **options: Any) -> Any:
            return Rankings(torch.full((len(vectors), k), -1), torch.full((len(vectors), k), -torch.inf))

    assert measure(Forgetful())["recall@10"] == 0.0  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"finds 0\.000 .* 0\.5 was asked for"):
        measure(Forgetful(), 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"index": {"name": "faiss", "kind": "ivf-pq"}}, "at least 624 pictures, and there are 24"),
        ({"keep": ["colour"]}, 'no column "colour"'),
        ({"keep": ["image"]}, "cannot be kept"),
        ({"index": {"name": "faiss", "kind": "fast"}}, "kind"),
    ],
)
def test_an_index_that_cannot_be_made_is_not_made(shop: Path, tmp_path: Path, options, says) -> None:
    with pytest.raises((ModelError, DataError, ValueError), match=says):
        built(shop, tmp_path / "i", **options)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("index", "out", "says"),
    [
        ("hnsw", "i", "no index named 'hnsw'"),
        ({"name": "faiss", "kind": "ivf-pq"}, "i", "at least 624 pictures, and there are 24"),
        ("exact", "model", "holds the fashreg model, which the new index must not replace"),
        ("exact", "notes", "was not written by fashreg"),
    ],
)
def test_what_cannot_be_built_or_written_is_told_before_any_picture_is_embedded(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Any, out: str, says: str
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    monkeypatch.setattr(Encoder, "embed", lambda *_, **__: pytest.fail("pictures were embedded"))
    with pytest.raises(FashregError, match=says):
        built(shop, (shop if out == "model" else tmp_path) / out, index=index)


def test_sizes_that_lie_are_refused_before_anything_is_made_of_them(index: Path) -> None:
    path = index / "index.json"
    sound = json.loads(path.read_text())
    for change in ({"count": 2**50}, {"embed_dim": 2**40, "count": 0}, {"embed_dim": 9}):
        path.write_text(json.dumps({**sound, **change}))
        write_manifest(index, "index")
        with pytest.raises(ModelError, match=r"index\.json|vectors\.safetensors"):
            load_index(index)
    sound["spec"]["config"]["embed_dim"] = 2**33
    path.write_text(json.dumps(sound))
    write_manifest(index, "index")
    with pytest.raises(ModelError, match=r"index\.json holds options that do not work"):
        load_index(index)


def test_swapped_files_of_two_indexes_are_noticed(shop: Path, index: Path, tmp_path: Path) -> None:
    built(shop, tmp_path / "other")
    delete_from_index(tmp_path / "other", ids=[0])
    (index / "vectors.safetensors").write_bytes((tmp_path / "other/vectors.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"vectors\.safetensors"):
        load_index(index)

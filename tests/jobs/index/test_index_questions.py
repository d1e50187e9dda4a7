"""What a gallery answers, to whom, and what it refuses to be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from index_shop import N, skus

from fashreg.errors import DataError, ModelError
from fashreg.indexes import folder as index_folder
from fashreg.jobs.embedding import embed_table
from fashreg.jobs.hits_page import write_hits_page
from fashreg.jobs.indexing import build_index, load_index
from fashreg.jobs.queries import ask, read_vectors
from fashreg.jobs.searching import search_folder
from fashreg.storage import save_encoder
from fashreg.strict_tensors import write_tensors
from fashreg.testing.tiny_run import tiny_encoder


def test_hits_carry_what_was_kept_exactly_as_it_was_written(shop: Path, index: Path) -> None:
    hits = load_index(index).search([shop / "7.png"], k=N)[0]
    assert {tuple(sorted(hit)) for hit in hits} == {("category", "id", "image", "label", "price", "score", "sku")}
    assert sorted(skus(hits)) == [f"{i:03}" for i in range(N) if i != 7]
    assert {hit["price"] for hit in hits} == {f"{10 * i}.50" for i in range(N) if i != 7}


def test_a_filter_gives_the_nearest_of_what_it_leaves(shop: Path, index: Path) -> None:
    gallery = load_index(index)
    everything = gallery.search([shop / "7.png"], k=N)[0]
    for where, keeps in (
        ("category=dress", lambda hit: hit["category"] == "dress"),
        (["category=dress,skirt", "price<100"], lambda hit: hit["category"] != "shirt" and float(hit["price"]) < 100),
        ({"label": "b"}, lambda hit: hit["label"] == "b"),
        ("sku=003", lambda hit: hit["sku"] == "003"),
    ):
        assert gallery.search([shop / "7.png"], k=N, where=where)[0] == [hit for hit in everything if keeps(hit)]


def test_a_picture_its_id_and_its_vector_ask_the_same(shop: Path, index: Path, tmp_path: Path) -> None:
    gallery = load_index(index)
    by_picture = gallery.search([shop / "5.png"], k=6)[0]
    assert skus(gallery.search_ids([5], k=6)[0]) == skus(by_picture)
    embed_table(shop / "model", shop / "table.csv", tmp_path / "v.safetensors", progress=False)
    asked, answers = search_folder(index, ids=[5], vectors=tmp_path / "v.safetensors", k=7)
    assert asked.names[:2] == ["id 5", "vector 0"]
    assert skus(answers[0])[:6] == skus(by_picture)
    assert skus(answers[1 + 5]) == ["005", *skus(by_picture)]
    np.save(tmp_path / "one.npy", gallery.vectors_of(torch.tensor([5]))[0].numpy())
    assert skus(search_folder(index, vectors=tmp_path / "one.npy", k=7)[1][0]) == ["005", *skus(by_picture)]


def test_asking_by_id_or_vector_needs_no_model(shop: Path, tmp_path: Path) -> None:
    save_encoder(tiny_encoder(), tmp_path / "gone")
    gone = build_index(tmp_path / "gone", shop / "table.csv", tmp_path / "index", progress=False)
    vectors = gone.index.vectors()[0]
    (tmp_path / "gone").rename(tmp_path / "elsewhere")
    np.save(tmp_path / "v.npy", vectors[3:4].numpy())
    assert search_folder(tmp_path / "index", ids=[3], vectors=tmp_path / "v.npy", k=1)[1][1][0]["id"] == 3
    with pytest.raises(ModelError, match="--model FOLDER"):
        search_folder(tmp_path / "index", pictures=[shop / "1.png"])
    assert search_folder(tmp_path / "index", pictures=[shop / "1.png"], model=str(tmp_path / "elsewhere"))[1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("v.npy", np.zeros((2, 9), dtype=np.float32), r"\(2, 9\)"),
        ("v.npy", np.full((1, 8), np.nan, dtype=np.float32), "row 0 holds NaN"),
        ("v.npy", np.zeros((1, 8), dtype=np.int64), "vectors are floats"),
        ("v.npy", np.array([object()]), "cannot be read"),
        (
            "v.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 8), }\n",
            "cannot be read",
        ),
        ("v.npy", b"", "cannot be read"),
        ("v.bin", b"", "safetensors or .npy"),
        ("v.safetensors", {"other": torch.zeros(1, 8)}, "no tensor `vectors`, but other"),
    ],
)
def test_vectors_that_cannot_be_a_question_are_refused(index: Path, tmp_path: Path, name, content, says) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        write_tensors(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DataError, match=says):
        search_folder(index, vectors=path)


def test_vectors_of_another_model_are_refused(index: Path, tmp_path: Path) -> None:
    write_tensors(tmp_path / "v.safetensors", {"vectors": torch.ones(1, 8)}, metadata={"model": "f" * 64})
    with pytest.raises(ModelError, match="made by another model"):
        search_folder(index, vectors=tmp_path / "v.safetensors")


def test_an_unknown_id_and_a_missing_question_are_named(shop: Path, index: Path) -> None:
    with pytest.raises(DataError, match="no picture of the index has the id 99"):
        search_folder(index, ids=[99])
    gallery = load_index(index)
    gallery.encoder = None
    with pytest.raises(ModelError, match="opened without its model"):
        ask(gallery, [shop / "1.png"])
    with pytest.raises(ValueError, match="at least 1"):
        gallery.search_ids([1], k=0)


def test_the_page_of_hits_stands_alone_and_escapes_what_it_shows(shop: Path, index: Path, tmp_path: Path) -> None:
    gallery = load_index(index)
    asked = ask(gallery, [shop / "1.png"], [2], torch.ones(1, 8))
    answers = asked.search(gallery, 3)
    answers[0][0] = {**answers[0][0], "label": "<script>alert(1)</script>", "image": str(tmp_path / "gone.png")}
    path = write_hits_page(tmp_path / "h.html", asked.names, asked.pictures, answers, labels=asked.labels, title="a<b")
    page = path.read_text()
    assert page.count("data:image/jpeg;base64,") == 2 + 9 - 1
    assert "picture cannot be read" in page
    assert "a vector" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&lt;b" in page
    assert "http" not in page.replace("http-equiv", "")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_damaged_vectors_file_of_questions_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "v.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match=r"v\.safetensors"):
        read_vectors(tmp_path / "v.safetensors", index_folder.load_index_folder(index))

"""Index folders as a person meets them: built, asked, changed, and refused when something is wrong."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.errors import BusyError, DataError, ModelError
from fashreg.indexes import folder as index_folder
from fashreg.jobs import index_changes, indexing
from fashreg.jobs.embedding import embed_table
from fashreg.jobs.gallery import Gallery
from fashreg.jobs.hits_page import write_hits_page
from fashreg.jobs.index_changes import add_to_index, delete_from_index, describe_index, update_index
from fashreg.jobs.indexing import build_index, load_index, measure
from fashreg.jobs.queries import ask, read_vectors
from fashreg.jobs.searching import search_folder
from fashreg.manifest import write_manifest
from fashreg.storage import save_encoder
from fashreg.strict_tensors import write_tensors
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.values import Rankings

N = 24


def picture(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a table of 24 pictures of noise with columns."""
    root = tmp_path_factory.mktemp("shop")
    save_encoder(tiny_encoder(), root / "model")
    rows = [
        {
            "image": picture(root / f"{i}.png", i).name,
            "label": "ab"[i % 2],
            "category": ["dress", "skirt", "shirt"][i % 3],
            "price": f"{10 * i}.50",
            "sku": f"{i:03}",
        }
        for i in range(N)
    ]
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    more = [{**rows[0], "image": picture(root / f"m{i}.png", 100 + i).name, "sku": f"m{i}"} for i in range(5)]
    pd.DataFrame(more).to_csv(root / "more.csv", index=False)
    return root


@pytest.fixture
def index(shop: Path, tmp_path: Path) -> Path:
    built(shop, tmp_path / "index")
    return tmp_path / "index"


def built(shop: Path, out: Path, **options: Any) -> Gallery:
    options = {"keep": ["price", "sku"], "options": ["attributes=[category]"], "progress": False, **options}
    return build_index(shop / "model", shop / "table.csv", out, **options)


def skus(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["sku"] for hit in hits]


def state(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


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


def test_pictures_come_are_replaced_and_go(shop: Path, index: Path, tmp_path: Path) -> None:
    assert str(add_to_index(index, shop / "more.csv", progress=False)) == "5 pictures added; the index holds 29"
    gallery = load_index(index)
    assert gallery.search([shop / "m3.png"], k=1, where="sku=m3") == [[]]  # itself is left out
    assert [gallery.id_of(shop / f"m{i}.png") for i in range(5)] == list(range(N, N + 5))
    picture(shop / "m4.png", 7)  # the picture that 7.png shows
    changed = pd.read_csv(shop / "more.csv", dtype=str).iloc[[4]].assign(sku="new", category="coat")
    changed = changed.drop(columns="price")  # what a table does not say stays
    changed.to_csv(shop / "changed.csv", index=False)
    assert update_index(index, shop / "changed.csv", progress=False).count == 1
    (hit,) = load_index(index).search([shop / "7.png"], k=1)[0]
    assert (hit["sku"], hit["category"], hit["id"], hit["price"]) == ("new", "coat", N + 4, "0.50")
    assert delete_from_index(index, where="category=coat", ids=[0, 1], images=[shop / "2.png"]).total == 25
    left = load_index(index)
    assert {"000", "001", "002", "new"}.isdisjoint(left.items["sku"])
    assert len(left) == len(left.items) == 25
    assert add_to_index(index, shop / "changed.csv", progress=False).total == 26
    assert set(load_index(index).items["id"]) == {*range(3, N + 4), N + 4}
    picture(shop / "m4.png", 104)


def test_an_id_column_is_kept_and_matched(shop: Path, tmp_path: Path) -> None:
    table = pd.read_csv(shop / "table.csv", dtype=str).assign(number=[str(1000 + i) for i in range(N)])
    table.iloc[:20].to_csv(shop / "first.csv", index=False)
    table.iloc[18:].to_csv(shop / "second.csv", index=False)
    table.iloc[20:].to_csv(shop / "third.csv", index=False)
    ours = {"options": ["id=number"], "progress": False}
    build_index(shop / "model", shop / "first.csv", tmp_path / "i", **ours)
    before = state(tmp_path / "i")
    with pytest.raises(DataError, match=r'2 rows: 0 \("1018"\), 1 \("1019"\)'):
        add_to_index(tmp_path / "i", shop / "second.csv", **ours)
    with pytest.raises(DataError, match=r"rows are not in .*4 rows.*1020"):
        update_index(tmp_path / "i", shop / "second.csv", **ours)
    assert state(tmp_path / "i") == before
    assert add_to_index(tmp_path / "i", shop / "third.csv", **ours).total == N
    assert update_index(tmp_path / "i", shop / "second.csv", **ours).count == 6


def test_what_cannot_be_changed_leaves_the_folder_as_it_was(shop: Path, index: Path) -> None:
    before = state(index)
    for change, says in (
        (lambda: add_to_index(index, shop / "table.csv", progress=False), "pictures are in .* already: 24 rows"),
        (lambda: update_index(index, shop / "more.csv", progress=False), "rows are not in"),
        (lambda: delete_from_index(index, ids=[1, 77]), "no picture of the index has the id 77"),
        (lambda: delete_from_index(index, images=[shop / "m1.png"]), "m1.png is not in"),
        (lambda: delete_from_index(index, where="category=hat"), "category is one of: dress, shirt, skirt"),
        (lambda: delete_from_index(index), "say what to delete"),
    ):
        with pytest.raises(DataError, match=says):
            change()
        assert state(index) == before


def test_an_emptied_index_says_so_and_can_be_filled_again(shop: Path, index: Path) -> None:
    assert delete_from_index(index, ids=range(N)).total == 0
    with pytest.raises(ModelError, match="holds no picture"):
        load_index(index).search([shop / "1.png"])
    assert add_to_index(index, shop / "more.csv", progress=False).total == 5


def test_of_two_writers_one_is_told_and_nothing_is_lost(shop: Path, index: Path, monkeypatch) -> None:
    measured = index_changes.measure

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(index_changes, "measure", measured)
        delete_from_index(index, ids=[3])
        return measured(*arguments)

    monkeypatch.setattr(index_changes, "measure", meanwhile)
    with pytest.raises(BusyError, match=r"changed .* meanwhile"):
        delete_from_index(index, ids=[5])
    assert set(load_index(index).items["id"]) == set(range(N)) - {3}


def test_while_one_writes_another_is_refused(index: Path, monkeypatch) -> None:
    inside, go = threading.Event(), threading.Event()
    write = index_folder.write_tensors

    def slow(*arguments: Any, **options: Any) -> None:
        inside.set()
        go.wait(10)
        write(*arguments, **options)

    monkeypatch.setattr(index_folder, "write_tensors", slow)
    first = threading.Thread(target=delete_from_index, args=(index,), kwargs={"ids": [3]})
    first.start()
    assert inside.wait(10)
    try:
        with pytest.raises(BusyError, match="another process is writing"):
            delete_from_index(index, ids=[5])
    finally:
        go.set()
        first.join()
    assert set(load_index(index).items["id"]) == set(range(N)) - {3}


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

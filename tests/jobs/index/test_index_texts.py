"""A gallery of pictures that is asked with words, and with a picture and words: exact and FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from index_shop import picture
from PIL import Image

from fashreg.errors import DataError, ModelError
from fashreg.jobs.compatibility import compatibility
from fashreg.jobs.index_model import task_of
from fashreg.jobs.indexing import build_index, build_indexes, load_index
from fashreg.jobs.queries import ask
from fashreg.jobs.searching import search_folder, show
from fashreg.jobs.sheet import draw_sheet
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

N = 40
QUIET: dict[str, Any] = {"progress": False}
FLAT = {"name": "faiss", "kind": "flat"}


@pytest.fixture
def shop(tmp_path: Path, fake_plugin: Any) -> Path:
    """A model of four tasks, and a table of pictures."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    save_encoder(tiny_text_encoder(), tmp_path / "model")
    names = [picture(tmp_path / f"{i}.png", i).name for i in range(N)]
    pd.DataFrame({"image": names, "label": ["ab"[i % 2] for i in range(N)]}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def ids(hits: list[dict[str, Any]]) -> list[int]:
    return [hit["id"] for hit in hits]


@pytest.mark.parametrize("index", ["exact", FLAT, {"name": "faiss", "kind": "hnsw"}, {"name": "faiss", "kind": "sq8"}])
def test_a_saved_index_of_pictures_finds_what_brute_force_finds_for_words(shop: Path, index: Any) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task="cross-modal", index=index, recall=1.0, **QUIET)
    gallery, encoder = load_index(shop / "i"), load_encoder(shop / "model")
    texts = ["a red dress", "wide trousers"]
    rows = [shop / f"{i}.png" for i in range(N)]
    scores = encoder.embed(texts=texts) @ encoder.embed(rows, task="cross-modal").T
    answers = gallery.search(texts=texts, k=5)
    for row, hits in zip(scores, answers, strict=True):
        assert ids(hits) == row.argsort(descending=True)[:5].tolist()
        assert [hit["score"] for hit in hits] == pytest.approx(row.sort(descending=True).values[:5].tolist(), abs=1e-5)
    assert answers[0] != answers[1]
    assert ids(gallery.search(texts="a red dress", k=5)[0]) == ids(answers[0])
    assert all(hit["label"] == "a" for hit in gallery.search(texts=texts, k=5, where="label=a")[0])


@pytest.mark.parametrize("index", ["exact", FLAT])
def test_a_picture_and_words_find_what_brute_force_finds_but_not_the_picture(shop: Path, index: Any) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task="composed", index=index, **QUIET)
    gallery, encoder = load_index(shop / "i"), load_encoder(shop / "model")
    rows = [shop / f"{i}.png" for i in range(N)]
    scores = encoder.embed(rows[7], texts="but in red") @ encoder.embed(rows, task="composed").T
    order = [i for i in scores[0].argsort(descending=True).tolist() if i != 7]
    assert ids(gallery.search([rows[7]], k=N, texts="but in red")[0]) == order
    assert ids(gallery.search(str(rows[7]), k=4, texts=["but in red"])[0]) == order[:4]
    opened = gallery.search([Image.open(rows[7])], k=N, texts=["but in red"])[0]
    assert len(opened) == N  # a picture without a path is nobody's own
    many = gallery.search([rows[7]], k=4, texts=["but in red", "shorter"])
    assert [7 in ids(hits) for hits in many] == [False, False]
    assert ids(many[0]) == order[:4] != ids(many[1])
    alone = gallery.search([rows[7]], k=4)
    assert ids(alone[0]) != order[:4]


def test_questions_of_a_folder_pair_pictures_ids_and_texts(shop: Path) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task="composed", index=FLAT, **QUIET)
    asked, answers = search_folder(shop / "i", pictures=[shop / "3.png"], ids=[5], texts=["in red", "longer"], k=3)
    assert asked.names == [f'{shop / "3.png"} + "in red"', 'id 5 + "longer"']
    assert asked.texts == ["in red", "longer"]
    assert asked.ids.tolist() == [3, 5]
    gallery = load_index(shop / "i")
    assert ids(answers[1]) == ids(gallery.search([shop / "5.png"], k=3, texts="longer")[0])
    one, _ = search_folder(shop / "i", ids=[5, 6], texts=["in red"], k=3)
    assert one.texts == ["in red", "in red"]
    vector = gallery.vectors_of(torch.tensor([2]))
    both = ask(gallery, ids=[5], texts=["a", "b", "c"], vectors=vector)
    assert both.names == ['id 5 + "a"', 'id 5 + "b"', 'id 5 + "c"', "vector 0"]
    assert both.texts == ["a", "b", "c", None]
    assert both.ids.tolist() == [5, 5, 5, -1]


@pytest.mark.parametrize(
    ("task", "asked", "says"),
    [
        ("composed", {"texts": ["red"]}, "'composed', which is not asked with a text alone; its task 'cross-modal' is"),
        (
            "cross-modal",
            {"texts": ["red"], "ids": [1]},
            "index build MODEL --table TABLE --task composed --out FOLDER",
        ),
        ("classification", {"texts": ["red"]}, "--task cross-modal"),
        ("composed", {"texts": ["red", "blue"], "ids": [1, 2, 3]}, "3 pictures and 2 texts"),
        ("cross-modal", {"texts": [" "]}, "a text to ask with is empty"),
    ],
)
def test_an_index_of_another_task_names_the_index_to_build(shop: Path, task: str, asked: Any, says: str) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task=task, **QUIET)
    with pytest.raises((DataError, ModelError), match=says):
        search_folder(shop / "i", **asked)


def test_a_model_without_texts_says_so(tmp_path: Path) -> None:
    save_encoder(tiny_encoder(), tmp_path / "model")
    picture(tmp_path / "0.png", 0)
    (tmp_path / "t.csv").write_text("image,label\n0.png,a\n")
    gallery = build_index(tmp_path / "model", tmp_path / "t.csv", **QUIET)
    with pytest.raises(ModelError, match=r"cannot be asked with a text alone .backbone TimmBackbone, image;"):
        gallery.search(texts="red")
    gallery.encoder = None
    with pytest.raises(ModelError, match="opened without its model"):
        gallery.search(texts="red")


def test_the_task_that_finds_pictures_is_the_one_meant_and_of_several_they_are_told_apart(shop: Path) -> None:
    assert task_of(tiny_text_encoder({"match": "cross-modal", "sort": "classification"}), None) == "match"
    assert task_of(tiny_text_encoder({"sort": "classification"}), None) == "sort"
    with pytest.raises(ModelError, match=r"composed .asked with a picture and a text., or an index for each"):
        build_index(shop / "model", shop / "t.csv", **QUIET)
    with pytest.raises(ModelError, match="no task of this model finds pictures"):
        task_of(tiny_text_encoder({"sort": "classification", "tell": "captioning"}), None)
    made = build_indexes(shop / "model", shop / "t.csv", shop / "every", **QUIET)
    assert list(made) == ["cross-modal", "composed"]
    assert load_index(shop / "every/composed").search(shop / "1.png", k=2, texts="red")


def test_an_index_stays_valid_when_another_task_is_added(shop: Path) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task="cross-modal", **QUIET)
    before = load_index(shop / "i").search(texts="red", k=5)
    encoder = load_encoder(shop / "model")
    encoder.backbone.add_task("more", "composed")
    encoder.head.add_task("more", "composed")
    save_encoder(encoder, shop / "model")
    assert load_index(shop / "i").search(texts="red", k=5) == before


def test_galleries_are_compared_in_the_tasks_that_find_pictures(shop: Path) -> None:
    found = compatibility(shop / "model", shop / "model", shop / "t.csv", pictures=True, progress=False)
    assert [one.task for one in found.tasks] == ["cross-modal", "composed"]


def test_page_and_sheet_show_what_was_asked_in_words(shop: Path) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "every", task="composed", **QUIET)
    asked, answers = search_folder(shop / "every", pictures=[shop / "3.png"], texts=["in <red> & wide"], k=2)
    show(asked, answers, html=shop / "h.html", sheet=shop / "s.png", title="shop")
    page = (shop / "h.html").read_text()
    assert page.count("in &lt;red&gt; &amp; wide") == 1
    assert "<red>" not in page
    assert 'class="same"' not in page  # the same label is not what was asked for
    build_index(shop / "model", shop / "t.csv", shop / "words", task="cross-modal", **QUIET)
    words, found = search_folder(shop / "words", texts=["a red dress " * 30], k=2)
    show(words, found, html=shop / "w.html", sheet=shop / "w.png", title="shop")
    assert "a vector" not in (shop / "w.html").read_text()
    drawn = Image.open(shop / "w.png").convert("L").crop((0, 0, 150, 150))
    assert min(drawn.getdata()) < 100  # letters where a picture would be
    empty = draw_sheet([None], found).convert("L").crop((0, 0, 150, 150))
    assert min(empty.getdata()) == 255

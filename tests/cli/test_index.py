"""`fashreg index` and `fashreg search` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder_of_tasks


@pytest.fixture
def index(shop: Path, fashreg, tmp_path: Path) -> Path:
    table = ("--table", shop / "atelier/table.csv")
    ours = ("--keep", "category", "--keep", "colour", "--index", "{name: faiss, kind: hnsw}", "--recall", "0.9")
    done = fashreg("index", "build", shop / "run/model", *table, *ours, "--out", tmp_path / "index")
    assert done.status == 0, done.err
    return tmp_path / "index"


def test_info_says_what_an_index_holds_and_what_it_finds(fashreg, index: Path) -> None:
    said = json.loads(fashreg("index", "info", index, "--json").out)
    assert said["index"] == "faiss"
    assert said["options"]["kind"] == "hnsw"
    assert {"image", "label", "category", "colour"} <= set(said["columns"])
    assert said["recall"]["recall@10"] >= 0.9
    plain = fashreg("index", "info", index).out
    assert "None" not in plain
    assert "recall@10" in plain
    assert str(said["pictures"]) in plain


def test_a_run_is_no_index_and_what_makes_one_is_said(fashreg, shop: Path) -> None:
    refused = fashreg("search", shop / "run", "-k", 1)
    assert refused.status == 1
    assert f"is a run folder, and no index: fashreg index build {shop / 'run/model'}" in refused.err


def test_hits_show_what_was_kept(fashreg, index: Path) -> None:
    hit = json.loads(fashreg("search", index, "-k", 1, "--json").out)[0]["hits"][0]
    first = fashreg("search", index, "-k", 1).out.splitlines()[1]
    assert first.endswith(f"{hit['label']}  {hit['image']}  category: {hit['category']}  colour: {hit['colour']}")


def test_a_search_by_id_vector_and_filter_with_its_page(fashreg, index: Path, tmp_path: Path) -> None:
    hits = json.loads(fashreg("search", index, "-k", 3, "--json").out)[0]["hits"]
    first, colour = hits[0]["id"], hits[0]["colour"]
    np.save(tmp_path / "v.npy", np.ones((2, len_of(index)), dtype=np.float32))
    asked = ("--id", first, "--vectors", tmp_path / "v.npy", "--where", f"colour={colour}")
    done = fashreg("search", index, *asked, "-k", 4, "--html", tmp_path / "h.html", "--json")
    assert done.status == 0, done.err
    answers = json.loads(done.out)
    assert [a["query"] for a in answers] == [f"id {first}", "vector 0", "vector 1"]
    assert {hit["colour"] for a in answers for hit in a["hits"]} == {colour}
    assert first not in {hit["id"] for hit in answers[0]["hits"]}
    page = (tmp_path / "h.html").read_text()
    assert page.count("<section>") == 3
    assert f"colour={colour}" in page


def len_of(index: Path) -> int:
    return int(json.loads((index / "index.json").read_text())["embed_dim"])


def test_pictures_are_deleted_added_again_and_updated(shop: Path, fashreg, index: Path) -> None:
    total = json.loads(fashreg("index", "info", index, "--json").out)["pictures"]
    hit = json.loads(fashreg("search", index, "-k", 1, "--json").out)[0]["hits"][0]
    kind = hit["category"]
    done = fashreg("index", "delete", index, "--where", f"category={kind}")
    assert done.status == 0, done.err
    gone = int(done.out.split()[0])
    assert json.loads(fashreg("index", "info", index, "--json").out)["pictures"] == total - gone
    table = ("--table", shop / "atelier/table.csv")
    refused = fashreg("index", "add", index, *table)
    assert refused.status == 1
    assert "already" in refused.err
    assert fashreg("index", "update", index, *table).status == 1
    assert fashreg("index", "delete", index, "--image", "nowhere.png").err.startswith("error: nowhere.png is not in")


def test_indexes_of_tasks_are_built_asked_and_across_models_only_on_purpose(
    shop: Path, fashreg, tmp_path: Path
) -> None:
    save_encoder(tiny_encoder_of_tasks("category", "colour"), tmp_path / "old")
    save_encoder(tiny_encoder_of_tasks("category", "colour", seed=1), tmp_path / "new")
    ours = ("index", "build", tmp_path / "old", "--table", shop / "atelier/table.csv", "--split", "test")
    refused = fashreg(*ours, "--out", tmp_path / "out")
    assert "say which, --task category, or an index for each: --every-task" in refused.err
    every = fashreg(*ours, "--every-task", "--out", tmp_path / "out")
    assert every.status == 0, every.err
    both = fashreg(*ours, "--task", "colour", "--task", "category", "--out", tmp_path / "both")
    assert [line.split()[-1] for line in both.out.splitlines()[:2]] == [
        str(tmp_path / "both" / task) for task in ("colour", "category")
    ]
    for task in ("category", "colour"):
        one = (tmp_path / "out" / task / "vectors.safetensors").read_bytes()
        assert one == (tmp_path / "both" / task / "vectors.safetensors").read_bytes()
    assert fashreg(*ours, "--task", "colour", "--out", tmp_path / "alone").status == 0
    assert json.loads(fashreg("index", "info", tmp_path / "alone", "--json").out)["task"] == "colour"
    query = ("--image", next((shop / "atelier").rglob("*.png")), "-k", 2, "--model", tmp_path / "new")
    assert "fashreg compatible OLD" in fashreg("search", tmp_path / "alone", *query).err
    across = fashreg("search", tmp_path / "alone", *query, "--across-models", "--json")
    assert across.status == 0, across.err
    assert len(json.loads(across.out)[0]["hits"]) == 2
    assert "say which, --task NAME, one of: category, colour" in fashreg("search", tmp_path / "out").err
    one = json.loads(fashreg("search", tmp_path / "out", "--task", "colour", *query[:4], "--json").out)
    assert one == json.loads(fashreg("search", tmp_path / "out/colour", *query[:4], "--json").out)
    assert json.loads(fashreg("index", "info", tmp_path / "out", "--task", "colour", "--json").out)["task"] == "colour"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--where", "colr=red"), 'did you mean "colour"?'),
        (("--where", "year=2012"), 'no column "year". It knows'),
        (("--where", "colour=purple-green"), "colour is one of:"),
        (("--where", "colour"), "not of the form column=value"),
        (("--id", "99999"), "no picture of the index has the id 99999"),
        (("--vectors", "gone.npy"), "gone.npy"),
        (("--image", "gone.png"), "gone.png"),
    ],
)
def test_a_question_that_cannot_be_answered_gets_one_clear_line(fashreg, index: Path, arguments, says) -> None:
    done = fashreg("search", index, *arguments)
    assert done.status == 1
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "Traceback" not in done.err
    assert "unexpected" not in done.err

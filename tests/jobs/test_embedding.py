"""Vectors in a file: of pictures, of texts, of both together; each row says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashreg.cli import run
from fashreg.errors import DataError, ModelError
from fashreg.jobs.embedding import embed_table
from fashreg.jobs.indexing import build_index
from fashreg.jobs.searching import search_folder
from fashreg.storage import load_encoder, save_encoder
from fashreg.strict_tensors import read_metadata, read_tensors
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

N = 6
QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture
def shop(tmp_path: Path, fake_plugin: Any) -> Path:
    """A model of four tasks, and a table of pictures with ids and two columns of texts."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    save_encoder(tiny_text_encoder(), tmp_path / "model")
    for i in range(N):
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    rows = {"number": range(10, 10 + N), "image": [f"{i}.png" for i in range(N)], "split": ["a", "b"] * 3}
    rows |= {"caption": [f"dress {i}" for i in range(N)], "wish": [f"in colour {i}" for i in range(N)]}
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"wish": ["red", "wide"]}).to_csv(tmp_path / "words.csv", index=False)
    return tmp_path


def written(shop: Path, table: Any = "t.csv", **how: Any) -> dict[str, torch.Tensor]:
    table = shop / table if isinstance(table, str) else table
    embed_table(shop / "model", table, shop / "v.safetensors", **QUIET, **{"options": ["id=number"], **how})
    return read_tensors(shop / "v.safetensors")


def test_a_column_of_texts_is_embedded_row_by_row_with_its_ids(shop: Path) -> None:
    found = written(shop, of="texts", text_column="caption", split="b")
    wanted = load_encoder(shop / "model").embed(texts=["dress 1", "dress 3", "dress 5"])
    assert torch.equal(found["vectors"], wanted)
    assert found["ids"].tolist() == [11, 13, 15]
    said = read_metadata(shop / "v.safetensors")
    assert (said["of"], said["task"], said["kind"]) == ("texts", "cross-modal", "cross-modal")
    assert len(said["table"]) == 64


def test_texts_need_no_pictures_and_no_ids(shop: Path) -> None:
    found = written(shop, "words.csv", of="texts", text_column="wish", options=())
    assert torch.equal(found["vectors"], load_encoder(shop / "model").embed(texts=["red", "wide"]))
    assert found["ids"].tolist() == [0, 1]
    frame = written(shop, pd.DataFrame({"wish": ["red", "wide"]}), of="texts", text_column="wish", options=())
    assert torch.equal(frame["vectors"], found["vectors"])


def test_each_picture_with_its_text_is_what_the_task_that_composes_makes_of_them(shop: Path) -> None:
    found = written(shop, of="both", text_column="wish")
    encoder = load_encoder(shop / "model")
    pictures, wishes = [shop / f"{i}.png" for i in range(N)], [f"in colour {i}" for i in range(N)]
    assert torch.equal(found["vectors"], encoder.embed(pictures, texts=wishes))
    assert found["ids"].tolist() == list(range(10, 10 + N))
    assert not torch.equal(found["vectors"], written(shop, task="composed")["vectors"])
    assert read_metadata(shop / "v.safetensors")["of"] == "pictures"


def test_words_are_embedded_alone_or_with_each_picture_of_a_table_and_stand_in_the_file(shop: Path) -> None:
    alone = written(shop, None, texts=["red", "größer"])
    encoder = load_encoder(shop / "model")
    assert torch.equal(alone["vectors"], encoder.embed(texts=["red", "größer"]))
    assert alone["ids"].tolist() == [0, 1]
    assert json.loads(read_metadata(shop / "v.safetensors")["texts"]) == ["red", "größer"]
    both = written(shop, texts=["red"])
    assert torch.equal(both["vectors"], encoder.embed([shop / f"{i}.png" for i in range(N)], texts="red"))
    assert read_metadata(shop / "v.safetensors")["of"] == "both"
    one = written(
        shop, pd.read_csv(shop / "t.csv").iloc[[4]], texts=["red", "wide"], options=["id=number", f"root={shop}"]
    )
    assert one["ids"].tolist() == [14, 14]
    assert torch.equal(one["vectors"], encoder.embed(shop / "4.png", texts=["red", "wide"]))


def test_vectors_of_words_ask_an_index_as_the_words_do(shop: Path) -> None:
    build_index(shop / "model", shop / "t.csv", shop / "i", task="cross-modal", **QUIET)
    written(shop, None, texts=["red"])
    stored = search_folder(shop / "i", vectors=shop / "v.safetensors", k=3)[1]
    assert [hit["id"] for hit in stored[0]] == [h["id"] for h in search_folder(shop / "i", texts=["red"], k=3)[1][0]]
    written(shop, texts=["red"])
    with pytest.raises(ModelError, match="vectors of the task 'composed'"):
        search_folder(shop / "i", vectors=shop / "v.safetensors")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"of": "texts"}, "no texts; name their column: --text-column NAME"),
        ({"of": "both"}, "no texts; name their column: --text-column NAME"),
        ({"of": "texts", "text_column": "captoin"}, 'did you mean "caption"'),
        ({"text_column": "caption"}, "say what to embed, --of texts, or --of both"),
        ({"of": "pictures", "text_column": "caption"}, "say what to embed, --of texts, or --of both"),
        (
            {"of": "texts", "texts": ["red"]},
            "--text WORDS embeds each picture of the table with a text, and --of texts",
        ),
        ({"table": None, "texts": ["red"], "of": "both"}, "embeds the texts alone, and --of both says something else"),
        ({"table": None, "texts": ["red"], "text_column": "wish"}, "and --text-column wish says something else"),
        ({"table": None, "texts": ["red", " "]}, "a text to embed is empty"),
        ({"table": None}, "nothing to embed: give --table FILE, --text WORDS, or both"),
        ({"texts": ["red", "wide"]}, "6 pictures and 2 texts"),
        (
            {"of": "both", "text_column": "wish", "task": "cross-modal"},
            "'cross-modal' cannot be asked with a picture and",
        ),
        ({"of": "texts", "text_column": "wish", "task": "fit"}, "no task 'fit'; its tasks are"),
    ],
)
def test_what_does_not_go_together_says_what_to_type(shop: Path, how: dict[str, Any], says: str) -> None:
    with pytest.raises((DataError, ModelError), match=says):
        written(shop, **how)
    assert not (shop / "v.safetensors").exists()


def test_rows_without_a_text_are_named(shop: Path) -> None:
    frame = pd.read_csv(shop / "t.csv", dtype=str)
    frame.loc[[1, 4], "wish"] = ["", " "]
    frame.to_csv(shop / "gaps.csv", index=False)
    for of in ("texts", "both"):
        with pytest.raises(DataError, match=r"no text in 2 rows: 1, 4\. Fill them"):
            written(shop, "gaps.csv", of=of, text_column="wish")


def test_a_model_without_texts_says_what_it_knows(shop: Path) -> None:
    save_encoder(tiny_encoder(), shop / "model")
    for how in ({"of": "texts", "text_column": "wish"}, {"of": "both", "text_column": "wish"}, {"texts": ["red"]}):
        with pytest.raises(ModelError, match=r"cannot be asked .*backbone TimmBackbone, image; head"):
            written(shop, **how)


def test_many_words_belong_into_a_table(shop: Path) -> None:
    with pytest.raises(DataError, match="put them into a table, --table FILE --of texts"):
        written(shop, None, texts=["x" * 1000] * 1100)


def test_as_typed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shop / "w.safetensors"
    assert run(["embed", str(shop / "model"), "--text", "red", "--text", "wide", "--out", str(out)]) == 0
    assert "vectors (2, " in capsys.readouterr().out
    ours = ["embed", str(shop / "model"), "--table", str(shop / "words.csv"), "--out", str(out)]
    assert run([*ours, "--of", "texts", "--text-column", "wish"]) == 0
    assert read_metadata(out)["of"] == "texts"
    assert run(["embed", str(shop / "model"), "--out", str(out)]) == 1
    assert "nothing to embed" in capsys.readouterr().err

"""What a push leaves at home: folders of this machine, in every file that names any."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from fashreg.errors import ModelError
from fashreg.own_paths import as_published, public, without_folders

REPO = "ann/dresses"


def published(kind: str, name: str, text: str) -> str | None:
    return as_published(kind, name, lambda: text, REPO)


def of_json(kind: str, name: str, content: Any) -> Any:
    text = published(kind, name, json.dumps(content))
    return None if text is None else json.loads(text)


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/home/ann/t.csv", "t.csv"),
        ('/home/ann/t.csv, split "test"', 't.csv, split "test"'),
        ("~/t.csv", "t.csv"),
        ("~ann/t.csv", "t.csv"),
        ("C:\\ann\\t.csv", "t.csv"),
        ("C:/ann/t.csv", "t.csv"),
        ("\\\\server\\ann\\t.csv", "t.csv"),
        ("/home/ann/", "ann"),
        ("shop/t.csv", "shop/t.csv"),
        ("atelier:products=3", "atelier:products=3"),
        ("~ 5 %", "~ 5 %"),
        ("", ""),
    ],
)
def test_of_absolute_paths_only_the_last_part_is_told(path: str, told: str) -> None:
    assert public(path) == told
    assert without_folders({"a": [path], "b": 1, "c": None}) == {"a": [told], "b": 1, "c": None}


def test_a_recipe_keeps_all_but_its_folders() -> None:
    recipe = {"description": "für Ann", "data": {"table": "/home/ann/t.csv", "root": "/home/ann/pictures"}, "seed": 1}
    text = published("model", "recipe.yaml", yaml.safe_dump(recipe))
    assert yaml.safe_load(text or "") == {**recipe, "data": {"table": "t.csv", "root": "pictures"}}


def test_of_a_config_only_the_provenance_changes() -> None:
    config = {"head": {"config": {"option": "/kept"}}, "provenance": {"table": "/home/ann/t.csv", "steps": 3}}
    assert of_json("model", "config.json", config) == {**config, "provenance": {"table": "t.csv", "steps": 3}}


def test_pictures_are_told_from_the_folder_that_all_are_in() -> None:
    before = lines(
        {"id": 1, "image": "/home/ann/shop/a/1.png", "mask": "/home/ann/shop/masks/1.png", "label": "/ röd"},
        {"id": 2, "image": "/home/ann/shop/b/1.png", "price": 1.5, "note": None},
        {"id": 3, "image": "c/1.png"},
    )
    for kind in ("index", "evaluation"):
        assert published(kind, "items.jsonl", before) == lines(
            {"id": 1, "image": "a/1.png", "mask": "masks/1.png", "label": "/ röd"},
            {"id": 2, "image": "b/1.png", "price": 1.5, "note": None},
            {"id": 3, "image": "c/1.png"},
        )


def test_the_picture_that_a_row_asks_for_is_no_path_of_this_machine_either() -> None:
    before = [
        {"id": 0, "image": "/home/ann/shop/a/0.png", "target": "/home/ann/shop/b/1.png", "text": "but in red"},
        {"id": 1, "image": "/home/ann/shop/a/1.png"},
    ]
    after = published("evaluation", "items.jsonl", lines(*before))
    assert after == lines({**before[0], "image": "a/0.png", "target": "b/1.png"}, {**before[1], "image": "a/1.png"})


def test_pictures_that_share_no_folder_are_told_by_their_names() -> None:
    before = lines({"id": 1, "image": "/a/1.png"}, {"id": 2, "image": "C:\\b\\2.png"})
    assert published("evaluation", "items.jsonl", before) == lines(
        {"id": 1, "image": "1.png"}, {"id": 2, "image": "2.png"}
    )


def test_an_evaluation_names_its_table_without_folders() -> None:
    content = {"metrics": {"recall@1": 0.1 + 0.2}, "protocol": {"source": "/home/ann/t.csv", "data": "d"}}
    assert of_json("evaluation", "evaluation.json", content) == {
        **content,
        "protocol": {"source": "t.csv", "data": "d"},
    }


@pytest.mark.parametrize(
    ("model", "told"),
    [("/home/ann/model", REPO), ("here", REPO), ("bob/hats@v1", "bob/hats@v1"), (None, None)],
)
def test_an_index_of_a_model_that_lies_here_names_the_repository(
    model: str | None, told: str | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    content = {"count": 1, "extra": {"model": model, "keep": []}}
    found = of_json("index", "index.json", content)
    assert (content if found is None else found) == {"count": 1, "extra": {"model": told, "keep": []}}


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("model", "recipe.yaml", "data: {table: t.csv}   # as somebody wrote it\n"),
        ("model", "config.json", '{"provenance": {"table": "t.csv"}}'),
        ("evaluation", "items.jsonl", '{"id": 1, "image": "1.png"}\n'),
        ("evaluation", "evaluation.json", '{"protocol": {"source": "t.csv"}}'),
        ("index", "index.json", '{"extra": {"model": null}}'),
        ("index", "items.jsonl", ""),
        ("model", "README.md", "in /home/ann"),
        ("index", "recipe.yaml", "table: /home/ann"),
    ],
)
def test_what_names_no_folder_stays_to_the_character(kind: str, name: str, text: str) -> None:
    assert published(kind, name, text) is None


@pytest.mark.parametrize("text", ["[1", "[1]", "{}", "\udc80", '{"a": 1, "a": 2}'])
@pytest.mark.parametrize("name", ["evaluation.json", "items.jsonl"])
def test_what_cannot_be_read_is_named(name: str, text: str) -> None:
    if (name, text) != ("items.jsonl", "{}"):
        with pytest.raises(ModelError, match=f"{name} cannot be read"):
            published("evaluation", name, text)

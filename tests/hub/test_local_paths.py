"""What is pushed says nothing of the machine that it was made on; the folder itself stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_folders import is_whole, small_folder, small_run

from fashreg.hub.push import push
from fashreg.testing.local_hub import LocalHub

REPO = "ann/shirts"
ITEMS: list[dict[str, object]] = [
    {"id": 3, "image": "/srv/ann/shop/a/1.png", "label": "é"},
    {"id": 1, "image": "/srv/ann/shop/b/2.png", "x": 0.1},
]


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_pushed_items_name_pictures_and_no_folders_of_the_machine(hub: LocalHub, token: str, tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "e", "evaluation", items__jsonl=lines(ITEMS))
    push(folder, REPO, token=token)
    files = hub.repo(REPO).files()
    assert [json.loads(line) for line in files["evaluation/items.jsonl"].splitlines()] == [
        {"id": 3, "image": "a/1.png", "label": "é"},
        {"id": 1, "image": "b/2.png", "x": 0.1},
    ]
    assert is_whole(files, "evaluation", tmp_path / "desk")
    assert (folder / "items.jsonl").read_text(encoding="utf-8") == lines(ITEMS)
    assert push(folder, REPO, token=token).written == ()


@pytest.mark.parametrize("where", [str(Path.home()), "/", "/home"])
def test_folders_that_have_only_a_home_or_the_disk_in_common_are_not_told(
    hub: LocalHub, token: str, tmp_path: Path, where: str
) -> None:
    rows = [{"id": n, "image": str(Path(where, f"customer{n}", f"{n}.png"))} for n in (1, 2)]
    push(small_folder(tmp_path / "e", "evaluation", items__jsonl=lines(rows)), REPO, token=token)
    assert b"customer" not in hub.repo(REPO).files()["evaluation/items.jsonl"]


def test_a_pushed_index_asks_the_model_beside_it(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_run(tmp_path / "run"), REPO, token=token)
    about = {"extra": {"model": "/srv/ann/run/model", "task": None}}
    push(small_folder(tmp_path / "i", "index", index__json=json.dumps(about)), REPO, token=token)
    assert json.loads(hub.repo(REPO).files()["index/index.json"]) == {"extra": {"model": REPO, "task": None}}


def test_an_index_of_a_model_on_the_hub_keeps_its_name(hub: LocalHub, token: str, tmp_path: Path) -> None:
    about = json.dumps({"extra": {"model": "bob/dresses@abc"}})
    push(small_folder(tmp_path / "i", "index", index__json=about), REPO, token=token)
    assert hub.repo(REPO).files()["index/index.json"].decode() == about

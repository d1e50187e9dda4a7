from __future__ import annotations

import json
from pathlib import Path

import pytest
from shelf import FILES, content_of, fetched_paths, folder_of, published, stop_the_clock

from fashreg.cli import run
from fashreg.errors import BusyError, HubError, ModelError
from fashreg.folder_lock import lock_folder
from fashreg.hub.origin import Origin, read_origin
from fashreg.hub.pull import pull
from fashreg.manifest import MANIFEST, verify_folder
from fashreg.storage import save_encoder
from fashreg.testing.local_hub import Flip, LocalHub, Status
from fashreg.testing.tiny_run import tiny_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "model")


def test_a_pulled_folder_is_whole_and_says_where_it_came_from(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    repo = published(hub, folder)
    repo.tags["v1"] = repo.head
    out = pull("ann/bags@v1", tmp_path / "new" / "out")
    assert {p.name for p in out.iterdir()} == {*FILES, MANIFEST, "origin.json"}
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    assert set(verify_folder(out, kind="model").files) == {*FILES, "origin.json"}
    assert read_origin(out) == Origin("ann/bags", repo.head, "v1", hub.endpoint)
    assert not any(path.is_symlink() for path in out.iterdir())


def test_a_pull_replaces_an_older_one_and_nothing_else(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    repo = published(hub, folder)
    out = pull("ann/bags", tmp_path / "out")
    files = {name: content for name, content in FILES.items() if name != "recipe.yaml"}
    repo.put({**content_of(folder_of(tmp_path / "next", {**files, "config.json": b"{}"})), "recipe.yaml": None})
    pull("ann/bags", out)
    assert (out / "config.json").read_bytes() == b"{}"
    assert not (out / "recipe.yaml").exists()


@pytest.mark.parametrize("what", ["a file", "strangers", "an index"])
def test_an_out_that_is_somebody_elses_is_refused_before_anything_is_asked(
    hub: LocalHub, folder: Path, tmp_path: Path, what: str
) -> None:
    published(hub, folder)
    out = tmp_path / "out"
    if what == "a file":
        out.write_text("mine")
    elif what == "strangers":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        folder_of(out, {"index.json": b"{}"}, kind="index")
    before = content_of(out) if out.is_dir() else {}
    with pytest.raises(ModelError):
        pull("ann/bags", out)
    assert hub.requests == []
    assert (content_of(out) if out.is_dir() else {}) == before


@pytest.mark.parametrize("fault", [Status(503), Flip()])
def test_a_pull_that_fails_leaves_what_was_there(
    hub: LocalHub, folder: Path, tmp_path: Path, fault: Status | Flip, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_the_clock(monkeypatch)
    repo = published(hub, folder)
    out = pull("ann/bags", tmp_path / "out")
    before = content_of(out)
    repo.put(content_of(folder_of(tmp_path / "next", {**FILES, "model.safetensors": b"new"})))
    hub.faults.add(fault, "*/model.safetensors", times=None, method="GET")
    for target in (out, tmp_path / "fresh"):
        with pytest.raises(HubError):
            pull("ann/bags", target)
    assert content_of(out) == before
    assert not (tmp_path / "fresh").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_two_pulls_into_one_folder_do_not_mix(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder)
    with lock_folder(tmp_path / "out"), pytest.raises(BusyError):
        pull("ann/bags", tmp_path / "out")
    assert hub.requests == []


def test_an_origin_that_was_pushed_is_not_believed(hub: LocalHub, tmp_path: Path) -> None:
    lie = {"repo": "evil/one", "commit": "0" * 40, "revision": "main", "endpoint": "https://evil.example"}
    published(hub, folder_of(tmp_path / "model", {**FILES, "origin.json": json.dumps(lie).encode()}))
    said = read_origin(pull("ann/bags", tmp_path / "out"))
    assert said is not None
    assert said.repo == "ann/bags"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"repo": 1, "commit": "", "revision": "", "endpoint": ""}', "\xff"]
)
def test_an_origin_that_says_nothing_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "origin.json").write_text(content, encoding="latin-1")
    assert read_origin(tmp_path) is None


def test_a_part_is_pulled_by_its_name(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    index = folder_of(tmp_path / "index", {"index.json": b"{}", "vectors.safetensors": b"v" * 99}, kind="index")
    hub.create("ann/bags", {**content_of(folder), **content_of(index, "index/")})
    out = pull("ann/bags", tmp_path / "out", part="index")
    assert verify_folder(out, kind="index").files.keys() == {"index.json", "vectors.safetensors", "origin.json"}


def test_a_part_with_a_name_of_its_own_is_what_its_manifest_says(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    index = folder_of(tmp_path / "index", {"index.json": b"{}", "vectors.safetensors": b"v" * 99}, kind="index")
    hub.create("ann/bags", {**content_of(folder), **content_of(index, "index-colour/")})
    out = pull("ann/bags", tmp_path / "out", part="index-colour")
    assert verify_folder(out, kind="index").files.keys() == {"index.json", "vectors.safetensors", "origin.json"}
    assert pull("ann/bags", out, part="index-colour") == out
    model = pull("ann/bags", tmp_path / "model")
    with pytest.raises(ModelError, match="holds the fashreg model, which the new index must not replace"):
        pull("ann/bags", model, part="index-colour")


# ---- as a command ----


def test_the_command_pulls_and_says_which_commit(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = published(hub, save_encoder(tiny_encoder(), tmp_path / "model"))
    assert run(["pull", "ann/bags", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"ann/bags@{repo.head} is in {tmp_path / 'out'}, every file checked\n"
    assert run(["pull", "ann/bags@main", "--out", str(tmp_path / "again"), "--offline"]) == 0
    assert run(["pull", "ann/other", "--out", str(tmp_path / "other")]) == 1
    assert "has no model ann/other" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_command_pulls_no_model_that_cannot_be_made_here(
    hub: LocalHub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(hub, folder)
    assert run(["pull", "ann/bags", "--out", str(tmp_path / "out")]) == 1
    assert "config.json" in capsys.readouterr().err
    assert "model.safetensors" not in fetched_paths(hub)
    assert not (tmp_path / "out").exists()

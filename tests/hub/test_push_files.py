"""Which files a push takes, and which of the Hub's it leaves alone."""

from __future__ import annotations

import json
import pickle  # pickles are made here to be refused; none is read
import shutil
import zipfile
from pathlib import Path

import pytest
from push_place import MODEL, REPO, names
from small_folders import small_folder, small_run, weights

from fashreg.errors import HubError, ModelError
from fashreg.hub.push import push
from fashreg.manifest import write_manifest
from fashreg.testing.local_hub import LocalHub

# ---- files that are not ours ----


def test_files_that_no_manifest_lists_stay_on_the_hub(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.repo(REPO).put({"LICENSE": "mine", "index/notes.txt": "n", "pictures/a.png": b"\x89PNG"})
    push(small_folder(model, value=2.0), REPO, token=token)
    assert names(hub) == MODEL | {"LICENSE", "index/notes.txt", "pictures/a.png"}
    assert hub.repo(REPO).files()["LICENSE"] == b"mine"


def test_a_strangers_file_is_not_replaced_unless_by_name(hub: LocalHub, token: str, model: Path) -> None:
    hub.token("ann")
    push(small_folder(model.parent / "i", "index"), REPO, token=token)
    hub.repo(REPO).put({"config.json": '{"model_type": "bert"}'})
    before = hub.repo(REPO).head
    with pytest.raises(HubError, match=r"holds config\.json, which fashreg did not write .* --include config\.json"):
        push(model, REPO, token=token)
    assert hub.repo(REPO).head == before
    push(model, REPO, token=token, include=["config.json"])
    assert json.loads(hub.repo(REPO).files()["config.json"])["value"] == 1.0


def test_a_manifest_that_cannot_be_read_stops_a_push(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.repo(REPO).put({"manifest.json": "no"})
    with pytest.raises(HubError, match=r"manifest\.json of .* is not the manifest of a model"):
        push(small_folder(model, value=2.0), REPO, token=token)


def test_a_model_does_not_replace_an_index(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "i", "index"), REPO, part="", token=token)
    with pytest.raises(HubError, match="'index', and a 'model' was asked for"):
        push(model, REPO, token=token)


def test_an_earlier_manifest_cannot_reach_into_another_part(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "i", "index"), REPO, token=token)
    push(
        small_folder(tmp_path / "m", **{"index/vectors__safetensors": weights(9.0)}),
        REPO,
        token=token,
        include=["index/vectors.safetensors"],
    )
    push(small_folder(tmp_path / "m"), REPO, token=token)
    assert "index/vectors.safetensors" in names(hub)


@pytest.mark.parametrize("name", ["notes.txt", "weights.pt", "sub/thing.json"])
def test_a_file_that_fashreg_did_not_write_is_pushed_by_name_only(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"mine")
    with pytest.raises(ModelError, match=rf"also holds {name}.* --include {name}"):
        push(model, REPO, token=token)
    assert hub.requests == []
    push(model, REPO, token=token, include=[name])
    assert hub.repo(REPO).files()[name] == b"mine"
    assert name not in json.loads(hub.repo(REPO).files()["manifest.json"])["files"]


def test_included_files_of_a_run_lie_where_they_belong(hub: LocalHub, token: str, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    (run / "model" / "LICENSE").write_text("l")
    (run / "report.html").write_text("r")
    with pytest.raises(ModelError, match="--include model/LICENSE"):
        push(run, REPO, token=token)
    push(run, REPO, token=token, include=["model/LICENSE", "report.html"])
    assert {"LICENSE", "report.html"} <= names(hub)
    assert "metrics.jsonl" not in names(hub)


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


PICKLES = {  # written to be refused; nothing here reads one
    "protocol 4 under a good name": lambda p: (p / "model.safetensors").write_bytes(pickle.dumps([1], 4)),
    "protocol 2 as text": lambda p: (p / "recipe.yaml").write_bytes(pickle.dumps([1], 2)),
    "protocol 0 as json": lambda p: (p / "config.json").write_bytes(pickle.dumps([1], 0)),
    "a torch archive": lambda p: a_zip(p / "model.safetensors"),
    "by its ending": lambda p: (p / "state.pt").write_bytes(b"anything"),
    "numpy": lambda p: (p / "vectors.npy").write_bytes(b"\x93NUMPY"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_even_where_the_manifest_lists_it(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    PICKLES[name](model)
    write_manifest(model, "model")
    with pytest.raises(ModelError, match=r"pickle|does not hold what a"):
        push(model, REPO, token=token)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["tool.py", "run.sh", "photo.png", "model.bin", "page.html", "text.md"])
def test_what_fashreg_never_writes_is_refused_even_where_the_manifest_lists_it(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    (model / name).write_bytes(b"\0\xffnothing of ours")
    write_manifest(model, "model")
    with pytest.raises(ModelError, match=f"{name} .*--include {name}"):
        push(model, REPO, token=token)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "a\\b", "nothing.txt", "."])
def test_an_included_name_is_a_file_in_the_folder(model: Path, name: str) -> None:
    (model.parent / "secret.txt").write_text("s")
    with pytest.raises(ModelError, match=r"plain path inside|holds no file nothing"):
        push(model, REPO, include=[name])


def test_a_damaged_folder_is_not_pushed(hub: LocalHub, token: str, model: Path) -> None:
    (model / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json was changed after it was written"):
        push(model, REPO, token=token)
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        push(model, REPO, token=token)
    shutil.rmtree(model)
    with pytest.raises(ModelError, match="there is no folder"):
        push(model, REPO, token=token)
    assert hub.requests == []


def test_a_folder_of_another_kind_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="kind 'checkpoint'; pushed can be: model, index, evaluation, a run"):
        push(small_folder(tmp_path / "c", "checkpoint"), REPO)


def test_a_part_of_a_run_is_pushed_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a run, and part says where one folder goes"):
        push(small_run(tmp_path / "run"), REPO, part="evaluation")

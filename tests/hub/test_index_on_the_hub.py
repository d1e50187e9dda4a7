"""An index beside its model in a repository is asked by the repository's name, without pulling it first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from far_index import FAR_INDEX
from huggingface_hub import HfApi
from PIL import Image

import fashreg
from fashreg.cli import run
from fashreg.errors import HubError, ModelError
from fashreg.hub.push import push
from fashreg.jobs.index_changes import add_to_index, delete_from_index, describe_index
from fashreg.jobs.indexing import build_index, build_indexes
from fashreg.jobs.searching import search_folder
from fashreg.manifest import write_manifest
from fashreg.storage import save_encoder
from fashreg.storage.loading import pull_folder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import tiny_encoder, tiny_encoder_of_tasks
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

REPO = "ann/dresses"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = []
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": "ab"[i % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


@pytest.fixture
def shared(hub: LocalHub, token: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and an index of eight pictures, pushed; then the folders are gone from here."""
    monkeypatch.chdir(tmp_path)
    push(save_encoder(tiny_encoder(), tmp_path / "model"), REPO, token=token)
    build_index(tmp_path / "model", table, tmp_path / "index", progress=False)
    push(tmp_path / "index", REPO, token=token)
    (tmp_path / "index").rename(tmp_path / "kept")
    (tmp_path / "model").rename(tmp_path / "kept-model")
    return tmp_path


def test_a_repositorys_index_answers_with_its_own_model(shared: Path) -> None:
    gallery = fashreg.load_index(REPO)
    here = fashreg.load_index(shared / "kept", model=shared / "kept-model")
    query = Image.open(shared / "3.png")
    assert [hit["id"] for hit in gallery.search([query], k=4)[0]] == [h["id"] for h in here.search([query], k=4)[0]]
    assert gallery.search([query], k=1)[0][0]["id"] == 3
    assert gallery.encoder is not None
    assert gallery.encoder.origin is not None


def test_it_is_asked_with_the_model_as_it_was_at_the_indexs_commit(shared: Path, token: str) -> None:
    HfApi().create_tag(REPO, tag="v1", token=token)
    push(save_encoder(tiny_encoder(seed=5), shared / "model"), REPO, token=token)
    assert len(fashreg.load_index(f"{REPO}@v1")) == 8
    with pytest.raises(ModelError, match="built with another model"):
        fashreg.load_index(REPO)  # the model beside it has changed since
    across = fashreg.load_index(REPO, model=f"{REPO}@main", across=True)
    assert len(across.search([shared / "3.png"], k=3)[0]) == 3


def test_as_typed_and_offline_from_the_cache(
    shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open(shared / "3.png").save(shared / "query.png")
    ours = ["search", f"hf://{REPO}", "--image", str(shared / "query.png"), "-k", "2", "--json"]
    assert run(ours) == 0
    told = capsys.readouterr().out
    assert json.loads(told)[0]["hits"][0]["id"] == 3
    monkeypatch.setattr("fashreg.hub.fetch.is_offline", lambda: True)
    assert run(ours) == 0
    assert capsys.readouterr().out == told
    assert run(["index", "info", REPO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 8
    assert describe_index(REPO)["bytes"] > 0


def test_what_is_not_there_is_said_of_both_places(shared: Path, hub: LocalHub, token: str) -> None:
    push(save_encoder(tiny_encoder(), shared / "alone"), "ann/alone", token=token)
    with pytest.raises(HubError, match=r"there is no folder ann/alone here, and .*holds no folder index/ of fashreg"):
        fashreg.load_index("ann/alone")
    with pytest.raises(HubError, match="there is no folder ann/nowhere here, and "):
        fashreg.load_index("ann/nowhere")


def test_an_index_on_the_hub_is_not_changed_in_place(shared: Path, table: Path) -> None:
    for change in (lambda: delete_from_index(REPO, ids=[1]), lambda: add_to_index(REPO, table)):
        with pytest.raises(ModelError, match=f"fashreg pull {REPO} --part index --out FOLDER"):
            change()


def test_indexes_of_tasks_are_pushed_one_by_one_and_pulled(
    hub: LocalHub, token: str, table: Path, tmp_path: Path
) -> None:
    push(save_encoder(tiny_encoder_of_tasks("colour", "season"), tmp_path / "model"), REPO, token=token)
    made = build_indexes(tmp_path / "model", table, tmp_path / "out", progress=False)
    with pytest.raises(ModelError, match=r"an index for each of several tasks: say which, .*one of: colour, season$"):
        fashreg.load_index(tmp_path / "out")
    for task in made:
        push(tmp_path / "out" / task, REPO, part=f"index/{task}", token=token)
    pull_folder(REPO, tmp_path / "here", part="index/season")
    gallery = fashreg.load_index(tmp_path / "here")
    assert gallery.task == "season"
    assert torch.equal(gallery.index.vectors()[0], made["season"].index.vectors()[0])


@pytest.fixture
def four(hub: LocalHub, token: str, table: Path, tmp_path: Path, fake_plugin: Any) -> Path:
    """A model that knows texts, and the indexes of its two tasks that find pictures, pushed as one folder."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    push(save_encoder(tiny_text_encoder(), tmp_path / "model"), REPO, token=token)
    build_indexes(tmp_path / "model", table, tmp_path / "several", progress=False)
    done = push(tmp_path / "several", REPO, token=token)
    assert {path.rpartition("/")[0] for path in done.written} == {"index/composed", "index/cross-modal"}
    return tmp_path


def test_of_several_indexes_on_the_hub_the_one_of_the_task_or_of_the_question_answers(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = four / "query.png"
    Image.open(four / "3.png").save(query)
    for task, asked in (("cross-modal", {}), ("composed", {"pictures": [query]})):
        there = search_folder(REPO, texts=["red"], **asked)[1][0]
        here = search_folder(four / "several" / task, texts=["red"], **asked)[1][0]
        assert [(hit["id"], hit["score"]) for hit in there] == [(hit["id"], hit["score"]) for hit in here]
    assert fashreg.load_index(REPO, task="composed").task == "composed"
    assert describe_index(REPO, "cross-modal")["kind"] == "cross-modal"
    assert run(["search", REPO, "--image", str(query)]) == 1
    assert "--task NAME, one of: composed (asked with a picture and a text), cross-modal" in capsys.readouterr().err
    assert run(["search", REPO, "--task", "composed", "--image", str(query), "-k", "2"]) == 0


def test_only_the_index_that_is_meant_is_fetched_whole(four: Path, hf_home: Path) -> None:
    search_folder(REPO, texts=["red"])
    assert [path.parent.name for path in hf_home.rglob("vectors.safetensors")] == ["cross-modal"]
    assert {path.parent.name for path in hf_home.rglob("index.json")} == {"composed", "cross-modal"}


def test_a_task_that_no_index_of_a_repository_is_of_is_told_with_those_there_are(four: Path) -> None:
    with pytest.raises(ModelError, match=r"no index of the task 'compose'; did you mean 'composed'\? it holds"):
        fashreg.load_index(REPO, task="compose")


def test_the_index_of_a_task_is_found_at_any_place_and_from_the_cache_alone(
    shared: Path, hub: LocalHub, token: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(save_encoder(tiny_encoder_of_tasks("colour", "season"), shared / "tasks"), "ann/tasks", token=token)
    build_indexes(shared / "tasks", table, shared / "out", progress=False)
    push(shared / "out/colour", "ann/tasks", token=token)  # where a single index lies
    push(shared / "out/season", "ann/tasks", part="index/spring", token=token)
    assert [fashreg.load_index("ann/tasks", task=task).task for task in ("colour", "season")] == ["colour", "season"]
    assert fashreg.load_index("ann/tasks").task == "colour"  # the place of the one index goes first
    with pytest.raises(ModelError, match="holds no index of the task 'shape'"):
        fashreg.load_index("ann/tasks", task="shape")
    fashreg.load_index(REPO)
    monkeypatch.setattr("fashreg.hub.fetch.is_offline", lambda: True)
    assert fashreg.load_index("ann/tasks", task="colour").task == "colour"
    with pytest.raises(ModelError, match="is an index of the task 'colour', and --task asks for 'season'"):
        fashreg.load_index("ann/tasks", task="season")  # which place it has cannot be asked now
    with pytest.raises(ModelError, match="is an index of no task"):
        fashreg.load_index(REPO, task="colour")


def test_a_folder_of_more_than_indexes_is_not_pushed_as_several(four: Path, token: str) -> None:
    (four / "several/notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="manifest"):
        push(four / "several", REPO, token=token)


def test_an_index_that_was_changed_on_the_hub_is_named_before_any_other_answers(four: Path, token: str) -> None:
    about = (four / "several/composed/index.json").read_text().replace("composed", "cross-modal")
    HfApi().upload_file(
        path_or_fileobj=about.encode(), path_in_repo="index/composed/index.json", repo_id=REPO, token=token
    )
    with pytest.raises(HubError, match=r"index/composed/index\.json is not the file that manifest\.json lists"):
        search_folder(REPO, texts=["red"])
    assert fashreg.load_index(REPO, task="cross-modal").task == "cross-modal"  # named, nothing else is looked at


def test_what_a_strangers_indexes_say_of_themselves_reaches_no_terminal_as_control(
    four: Path, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("composed", "cross-modal"):
        path = four / "several" / name / "index.json"
        about = json.loads(path.read_text())
        about["extra"] |= {"task": f"\x1b[31m{name}\u202e", "kind": "\x1b[2J"}
        path.write_text(json.dumps(about))
        write_manifest(four / "several" / name, "index")
    push(four / "several", REPO, token=token)
    assert run(["search", REPO]) == 1
    told = capsys.readouterr().err
    assert "one of: " in told
    assert not {"\x1b", "\u202e"} & set(told)


def test_what_an_index_on_the_hub_would_reach_outside_needs_the_consent_of_the_person(
    shared: Path, token: str, fake_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugin("fashreg-far", {"fashreg.index": {"far": "fashreg_far:FarIndex"}}, FAR_INDEX)
    about = json.loads((shared / "kept/index.json").read_text())
    config = {"uri": "db/x.db", "embed_dim": about["embed_dim"]}
    about["spec"] = {"name": "far", "plugin": "fashreg-far", "version": "1.0", "config": config}
    (shared / "kept/index.json").write_text(json.dumps(about))
    write_manifest(shared / "kept", "index")
    push(shared / "kept", REPO, token=token)
    with pytest.raises(ModelError, match=r"uri='db/x.db', outside of itself.*FASHREG_REACH=db/x.db"):
        fashreg.load_index(REPO)
    monkeypatch.setenv("FASHREG_REACH", "db/x.db")
    assert fashreg.load_index(REPO).index.uri == "db/x.db"  # type: ignore[attr-defined]

"""A push on a bad line: asked again, found again, never made twice, never half."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from push_place import REPO, names
from small_folders import is_whole, small_folder, weights

from fashreg.errors import HubConflictError, HubError
from fashreg.hub import push as pushing
from fashreg.hub.push import push
from fashreg.testing.local_hub import Answer, Drop, DropUpload, Edit, LocalHub, Status

# ---- faults ----


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr("fashreg.hub.client.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "path", ["*/commit/main", "*/preupload/main", "*/info/lfs/objects/batch", "*/tree/*", f"/api/models/{REPO}"]
)
def test_a_server_that_stumbles_is_asked_again(hub: LocalHub, token: str, model: Path, path: str) -> None:
    push(model, REPO, token=token)
    order = hub.faults.add(Status(503), path, times=2)
    push(small_folder(model, value=2.0), REPO, token=token)
    assert order.struck == 2
    assert hub.repo(REPO).files()["model.safetensors"] == weights(2.0)
    assert len(hub.repo(REPO).commits()) == 3


@pytest.mark.usefixtures("patient")
def test_a_server_that_stays_away_leaves_the_old_revision_whole(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    before = push(model, REPO, token=token).commit
    hub.faults.add(Status(503), "*/commit/main", times=None)
    with pytest.raises(HubError, match="answers 503"):
        push(small_folder(model, value=2.0), REPO, token=token)
    assert hub.repo(REPO).head == before
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["*/validate-yaml", "*/commit/main"])
def test_an_answer_that_is_no_json_is_asked_for_again(hub: LocalHub, token: str, model: Path, path: str) -> None:
    order = hub.faults.add(Edit(lambda answer: replace(answer, content=b"<html>")), path)
    push(model, REPO, token=token)
    assert order.struck == 1
    assert len(hub.repo(REPO).commits()) == 2


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", [Drop(done=True), Status(503, done=True)])
def test_a_commit_whose_answer_was_lost_is_found_and_not_made_twice(
    hub: LocalHub, token: str, model: Path, fault: Drop | Status
) -> None:
    push(model, REPO, token=token)
    order = hub.faults.add(fault, "*/commit/main")
    done = push(small_folder(model, value=2.0), REPO, token=token)
    assert order.struck == 1
    assert done.commit == hub.repo(REPO).head
    assert len(hub.repo(REPO).commits()) == 3


@pytest.mark.usefixtures("patient")
def test_a_pull_request_whose_answer_was_lost_is_not_made_twice(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.faults.add(Drop(done=True), "*/commit/main", times=None)
    with pytest.raises(HubError, match="cannot be reached"):
        push(small_folder(model, value=2.0), REPO, token=token, create_pr=True)
    assert len(hub.repo(REPO).pulls) == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("after", [0, 100])
def test_an_upload_that_is_cut_is_done_again(hub: LocalHub, token: str, model: Path, after: int) -> None:
    order = hub.faults.add(DropUpload(after=after), method="PUT")
    push(model, REPO, token=token)
    assert order.struck == 1
    assert hub.repo(REPO).files()["model.safetensors"] == weights(1.0)


def test_a_file_that_changes_while_it_is_pushed_is_noticed(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_folder(tmp_path / "m", model__safetensors=weights(1.0, 600_000))
    listed = pushing.list_files

    def meanwhile(*arguments: object) -> object:
        (model / "model.safetensors").write_bytes(weights(2.0, 600_000))
        return listed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing, "list_files", meanwhile)
    with pytest.raises(HubError, match=r"model\.safetensors changed while it was pushed; nothing was written"):
        push(model, REPO, token=token)
    assert names(hub) == set()


def ignoring_weights(answer: Answer) -> Answer:
    said = json.loads(answer.content)
    for file in said["files"]:
        file["shouldIgnore"] = file["path"].endswith(".safetensors")
    return replace(answer, content=json.dumps(said).encode())


def test_a_gitignore_that_would_leave_files_out_stops_a_push(hub: LocalHub, token: str, model: Path) -> None:
    push(small_folder(model.parent / "i", "index"), REPO, token=token)
    before = hub.repo(REPO).put({".gitignore": "*.safetensors\n"})
    hub.faults.add(Edit(ignoring_weights), "*/preupload/main", times=None)
    with pytest.raises(HubError, match=r"\.gitignore of ann/shirts leaves model\.safetensors out"):
        push(model, REPO, token=token)
    assert hub.repo(REPO).head == before


def test_without_network_a_push_says_so(
    hub: LocalHub, token: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        push(model, REPO, token=token)
    assert hub.requests == []


# ---- two who push ----


def test_the_branch_must_be_where_a_person_says(hub: LocalHub, token: str, model: Path) -> None:
    first = push(model, REPO, token=token).commit
    second = push(small_folder(model, value=2.0), REPO, token=token, parent_commit=first).commit
    small_folder(model, value=3.0)
    with pytest.raises(HubConflictError, match=f"is at {second[:12]} now, and this push goes on from {first[:12]}"):
        push(model, REPO, token=token, parent_commit=first)
    assert hub.repo(REPO).head == second

"""The local Hub answers an unmodified huggingface_hub as the Hub does, and its faults strike where they should."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import tomllib
from importlib.metadata import version
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from packaging.requirements import Requirement
from plain_requests import WEIGHTS, asked, status_of

from fashreg.testing.local_hub import LocalHub, client_of

# --- the client


def test_the_client_is_one_that_fashreg_supports_and_the_lowest_is_tested_too() -> None:
    root = Path(__file__).parents[2]
    needs = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = next(r for r in map(Requirement, needs) if r.name == "huggingface-hub")
    assert version("huggingface-hub") in wanted.specifier
    assert huggingface_hub.__version__ == version("huggingface-hub")
    lowest = next(s.version for s in wanted.specifier if s.operator == ">=")
    assert f"LOWEST_HUB := {lowest}\n" in (root / "Makefile").read_text()
    assert huggingface_hub.__version__ == os.environ.get("FASHREG_TEST_HUB", huggingface_hub.__version__)


def test_the_client_is_pointed_at_the_local_hub_and_given_back_as_it_was(tmp_path: Path) -> None:
    before = dict(os.environ), dict(vars(constants)), huggingface_hub.hf_api.api.endpoint
    with LocalHub() as hub, client_of(hub, tmp_path, token=hub.token("ann")):
        assert HfApi().endpoint == constants.ENDPOINT == hub.endpoint
        huggingface_hub.create_repo("ann/x", private=True)
        assert HfApi().whoami()["name"] == "ann"
        assert not constants.HF_HUB_OFFLINE
        code = "import huggingface_hub as h; print(h.model_info('ann/x').private, h.constants.HF_HUB_CACHE)"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert told.split() == ["True", str(tmp_path / "hub")]
    assert (dict(os.environ), dict(vars(constants)), huggingface_hub.hf_api.api.endpoint) == before


# --- repositories


def test_a_repository_is_created_once(hub: LocalHub, api: HfApi) -> None:
    assert api.create_repo("ann/x", private=True) == f"{hub.endpoint}/ann/x"
    assert api.create_repo("ann/x", exist_ok=True) == f"{hub.endpoint}/ann/x"
    assert status_of(lambda: api.create_repo("ann/x")) == 409
    assert hub.repo("ann/x").private
    assert list(hub.repo("ann/x").files()) == [".gitattributes"]


def test_a_repository_is_deleted_and_its_settings_change(hub: LocalHub, api: HfApi, repo: str) -> None:
    api.update_repo_settings(repo, gated="auto", private=True)
    assert (hub.repo(repo).gated, hub.repo(repo).private) == (True, True)
    api.delete_repo(repo)
    assert not api.repo_exists(repo)


def test_a_token_has_a_user_and_a_wrong_one_is_refused(hub: LocalHub, api: HfApi) -> None:
    assert api.whoami()["name"] == "ann"
    assert hub.token("ann") == hub.token("ann") != hub.token("ann", write=False)
    hub.create("ann/x")
    assert status_of(lambda: api.model_info("ann/x", token="hf_wrong")) == 401


def test_what_is_committed_is_downloaded(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("ann/x")
    files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "a folder/naïve.txt": b"text\r\n", "empty": b""}
    done = api.create_commit("ann/x", [CommitOperationAdd(p, c) for p, c in files.items()], commit_message="first")
    assert {p: Path(hf_hub_download("ann/x", p)).read_bytes() for p in files} == files
    assert {**hub.repo("ann/x").files(done.oid), ".gitattributes": b""} == {**files, ".gitattributes": b""}
    stored = {r.path.rpartition("/")[2] for r in hub.asked(method="GET", side="storage")}
    assert stored == {"model.safetensors"}


def test_names_of_files_are_labelled_by_their_content(hub: LocalHub, api: HfApi, repo: str) -> None:
    small, large = (api.get_paths_info(repo, [p])[0] for p in ("config.json", "model.safetensors"))
    assert small.blob_id == hashlib.sha1(b"blob 2\0{}").hexdigest()
    assert (large.lfs.sha256, large.lfs.size, large.size) == (hashlib.sha256(WEIGHTS).hexdigest(), 10240, 10240)
    head = huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "model.safetensors"))
    assert (head.etag, head.size, head.commit_hash) == (large.lfs.sha256, 10240, hub.repo(repo).head)
    assert head.location.startswith(hub.storage)
    assert huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "config.json")).etag == small.blob_id


def test_large_files_arrive_in_parts_and_are_sent_once(hf_home: Path) -> None:
    with LocalHub(part_size=4000) as hub, client_of(hub, hf_home, token=hub.token("ann")):
        huggingface_hub.create_repo("ann/x")
        for name in ("a.bin", "b.bin"):
            add = [CommitOperationAdd(name, WEIGHTS)]
            huggingface_hub.create_commit("ann/x", add, commit_message="large")
        assert hub.repo("ann/x").files()["b.bin"] == WEIGHTS
        assert len(hub.asked(method="PUT", side="storage")) == 3
        assert hub.failures == []


def test_an_upload_that_is_not_what_it_promised_cannot_be_committed(hub: LocalHub, token: str, repo: str) -> None:
    oid, bearer = hashlib.sha256(b"promised").hexdigest(), f"Bearer {token}"
    base = f"{hub.endpoint}/{repo}.git/info/lfs/objects"
    batch = json.dumps({"objects": [{"oid": oid, "size": 8}]}).encode()
    told = json.loads(asked(f"{base}/batch", method="POST", body=batch, Authorization=bearer)[1])
    place = told["objects"][0]["actions"]["upload"]["href"]
    assert asked(place, method="PUT", body=b"promixed")[0] == 200
    check = json.dumps({"oid": oid, "size": 8}).encode()
    assert asked(f"{base}/verify", method="POST", body=check, Authorization=bearer)[0] == 422
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": {"path": "a.bin", "oid": oid}}]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    url = f"{hub.endpoint}/api/models/{repo}/commit/main"
    assert asked(url, method="POST", body=body, Authorization=bearer)[0] == 400
    assert "a.bin" not in hub.repo(repo).files()


def test_a_commit_on_an_old_parent_changes_nothing(hub: LocalHub, api: HfApi, repo: str) -> None:
    old = hub.repo(repo).head
    new = hub.repo(repo).put({"more": "x"})
    add = [CommitOperationAdd("late", b"x")]
    late = lambda: api.create_commit(repo, add, commit_message="late", parent_commit=old)  # noqa: E731
    assert status_of(late) == 412
    assert hub.repo(repo).head == new


def test_a_commit_is_done_whole_or_not_at_all(hub: LocalHub, api: HfApi, repo: str) -> None:
    before = hub.repo(repo).head
    change = [CommitOperationAdd("new", b"x"), CommitOperationDelete("missing")]
    with pytest.raises(EntryNotFoundError):
        api.create_commit(repo, change, commit_message="both")
    assert hub.repo(repo).head == before
    api.create_commit(repo, [CommitOperationAdd("new", b"x"), CommitOperationDelete("config.json")], commit_message="b")
    assert sorted(hub.repo(repo).files()) == [".gitattributes", "model.safetensors", "new"]


def test_of_concurrent_commits_on_one_parent_exactly_one_wins(hub: LocalHub, api: HfApi, repo: str) -> None:
    parent, ends = hub.repo(repo).head, []

    def write(number: int) -> None:
        add = [CommitOperationAdd(f"{number}.txt", b"x")]
        try:
            ends.append(api.create_commit(repo, add, commit_message="race", parent_commit=parent).oid)
        except HfHubHTTPError as error:
            ends.append(error.response.status_code)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count(412) == 7
    assert hub.repo(repo).head in ends


def test_a_name_that_git_would_not_take_is_refused_but_can_be_planted(hub: LocalHub, token: str, repo: str) -> None:
    url = f"{hub.endpoint}/api/models/{repo}/commit/main"
    for name in ("../up", "/abs", "a//b", ".git/config", "a\\b", ""):
        operation = {"key": "file", "value": {"path": name, "content": "x", "encoding": "utf-8"}}
        lines = [{"key": "header", "value": {"summary": "s"}}, operation]
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        assert asked(url, method="POST", body=body, Authorization=f"Bearer {token}")[0] == 400
    hub.repo(repo).put({"../up": "planted"})
    assert [s.rfilename for s in HfApi().model_info(repo).siblings] == [
        "../up", ".gitattributes", "config.json", "model.safetensors",
    ]  # fmt: skip

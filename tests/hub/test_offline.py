from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import FILES, content_of, folder_of, no_sockets, published, stop_the_clock

from fashreg.errors import HubError, HubOfflineError
from fashreg.hub.fetch import Fetched, fetch
from fashreg.hub.pull import pull
from fashreg.testing.local_hub import Answer, Edit, Flip, LocalHub, Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "model")


@pytest.fixture
def cached(hub: LocalHub, folder: Path) -> Fetched:
    repo = published(hub, folder)
    repo.tags["v1"] = repo.head
    fetch("ann/bags@v1")
    return fetch("ann/bags")


@pytest.fixture
def blocked(cached: Fetched, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with no_sockets(monkeypatch):
        yield


def test_everything_cached_works_with_sockets_blocked(
    cached: Fetched, blocked: None, folder: Path, tmp_path: Path
) -> None:
    for revision in (None, "main", "v1", cached.commit):
        assert content_of(fetch("ann/bags", revision, local_files_only=True).folder) == content_of(folder)
    out = pull("ann/bags@v1", tmp_path / "out", local_files_only=True)
    assert {name: content_of(out)[name] for name in FILES} == FILES


def test_a_commit_opens_with_sockets_blocked_and_no_word_of_it(cached: Fetched, blocked: None) -> None:
    assert fetch("ann/bags", cached.commit).folder == cached.folder


def test_hf_hub_offline_is_honoured(cached: Fetched, blocked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("ann/bags").commit == cached.commit
    with pytest.raises(HubOfflineError, match=r"ann/bags@v9 is not in the cache .* the network is off"):
        fetch("ann/bags@v9")


@pytest.mark.parametrize("address", ["ann/other", "ann/bags@v9", "ann/bags@" + "0" * 40])
def test_what_is_not_cached_is_said_without_asking(blocked: None, address: str) -> None:
    with pytest.raises(HubOfflineError, match=r"is not in the cache.*fetch it once with the network on") as said:
        fetch(address, local_files_only=True)
    assert said.value.repo == address.partition("@")[0]


@pytest.mark.parametrize("name", [n for n in FILES if n != "README.md"])
def test_a_snapshot_with_a_hole_is_said_and_named(cached: Fetched, blocked: None, name: str) -> None:
    (cached.folder / name).unlink()
    with pytest.raises(HubOfflineError, match=f"not whole in the cache .*{name} is missing"):
        fetch("ann/bags", local_files_only=True)


def test_a_card_that_is_missing_stops_nobody(cached: Fetched, blocked: None) -> None:
    (cached.folder / "README.md").unlink()
    assert "README.md" not in fetch("ann/bags", local_files_only=True).manifest.files


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "model.safetensors", "README.md"])
def test_a_damaged_cache_is_said_and_left_alone(cached: Fetched, blocked: None, name: str) -> None:
    path = (cached.folder / name).resolve()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(HubError, match=f"{name} is damaged.*fetch it with the network on"):
        fetch("ann/bags", local_files_only=True)
    assert path.exists()


def test_without_links_in_the_cache_the_manifest_still_guards(cached: Fetched, blocked: None) -> None:
    for name in ("config.json", "model.safetensors"):
        path = cached.folder / name
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert fetch("ann/bags", local_files_only=True).commit == cached.commit
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(HubError, match=r"model\.safetensors is damaged: its sha256 is not the one in manifest"):
        fetch("ann/bags", local_files_only=True)


def test_a_hub_that_cannot_be_reached_leaves_what_is_cached(
    hub: LocalHub, cached: Fetched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_the_clock(monkeypatch)
    hub.close()
    assert fetch("ann/bags").commit == cached.commit
    assert "cannot be reached for ann/bags (" in caplog.text
    assert f"taking {cached.commit[:12]} from the cache" in caplog.text
    with pytest.raises(HubOfflineError, match=f"{hub.endpoint} cannot be reached for ann/other"):
        fetch("ann/other")


def test_a_cache_that_may_only_be_read_is_enough(cached: Fetched, hf_home: Path) -> None:
    ref = next(hf_home.rglob("refs/main"))
    ref.write_text("0" * 40)
    ref.parent.chmod(0o500)
    try:
        assert fetch("ann/bags").commit == cached.commit
    finally:
        ref.parent.chmod(0o700)


def test_a_newer_part_does_not_take_the_model_away(hub: LocalHub, cached: Fetched, tmp_path: Path) -> None:
    index = folder_of(tmp_path / "index", {"index.json": b"{}"}, kind="index")
    newer = hub.repo("ann/bags").put(content_of(index, "index/"))
    assert fetch("ann/bags", part="index").commit == newer
    hub.close()
    assert fetch("ann/bags", local_files_only=True).commit == cached.commit
    assert fetch("ann/bags", part="index", local_files_only=True).commit == newer


# ---- mirrors ----


def test_a_mirror_that_serves_files_and_nothing_else_is_enough(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    published(hub, folder)
    hub.faults.add(Status(404), "/api/*", times=None)
    assert content_of(fetch("ann/bags@main").folder) == content_of(folder)
    assert {name: content_of(pull("ann/bags", tmp_path / "out"))[name] for name in FILES} == FILES


def test_a_mirror_with_labels_of_its_own_is_guarded_by_the_manifest(hub: LocalHub, folder: Path) -> None:
    published(hub, folder)

    def labelled(answer: Answer) -> Answer:
        label = f'W/"{len(answer.content):x}-mirror"'
        kept = {k: v for k, v in answer.headers.items() if k != "X-Linked-Etag"}
        return replace(answer, headers={**kept, "ETag": label})

    hub.faults.add(Edit(labelled), times=None)
    hub.faults.add(Flip(), "*/config.json")
    assert content_of(fetch("ann/bags").folder) == content_of(folder)
    assert len(hub.asked("config.json", "GET")) == 2


CODE = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError("a connection was asked for")
if "blocked" in sys.argv:
    socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from fashreg.hub.fetch import fetch
print(fetch("ann/bags").origin)
"""


def test_the_environment_is_honoured_in_a_new_process(hub: LocalHub, folder: Path, tmp_path: Path) -> None:
    mirror_says = published(hub, folder).head

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CODE, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=tmp_path)

    first = run(HF_ENDPOINT=hub.endpoint, HF_HOME=str(tmp_path / "home"))
    assert first.stdout.strip() == f"ann/bags@{mirror_says}", first.stderr
    again = run("blocked", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    nowhere = run("blocked", HF_HOME=str(tmp_path / "other"), HF_HUB_OFFLINE="1")
    assert "HubOfflineError: ann/bags is not in the cache" in nowhere.stderr

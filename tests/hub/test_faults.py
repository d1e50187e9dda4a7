"""A Hub that stumbles: what is fetched is right, or nothing is there and the error says what to do."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from shelf import FILES, WEIGHTS, Clock, content_of, folder_of, published, stop_the_clock

from fashreg.errors import HubError, HubOfflineError
from fashreg.folder_lock import lock_folder
from fashreg.hub.fetch import fetch
from fashreg.manifest import MANIFEST
from fashreg.testing.local_hub import Answer, Drop, Edit, Flip, LocalHub, Redirect, Repository, Slow, Status, WrongSize

EVERY = [MANIFEST, *FILES]
LARGE = ("model.safetensors",)  # what the Hub keeps in its storage of large files


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stop_the_clock(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "model")


@pytest.fixture
def repo(hub: LocalHub, folder: Path) -> Repository:
    return published(hub, folder)


def files_in(hf_home: Path) -> dict[str, bytes]:
    """What lies in the cache under the names of the repository, wholly there or not."""
    return {p.name: p.read_bytes() for p in hf_home.rglob("snapshots/*/*")}


# ---- cut, refused, slow: patience ----


@pytest.fixture
def large(hub: LocalHub, tmp_path: Path) -> Path:
    """A repository ann/large with weights of which something is left when they are cut: clients write by 10 MiB."""
    folder = folder_of(tmp_path / "large", {**FILES, "model.safetensors": bytes(24 * 2**20)})
    published(hub, folder, "ann/large", private=True)
    return folder


def ranges(hub: LocalHub) -> list[str | None]:
    return [r.headers.get("range") for r in hub.asked("model.safetensors", "GET", "storage")]


def test_a_download_that_is_cut_goes_on_where_it_was(hub: LocalHub, large: Path, token: str) -> None:
    hub.faults.add(Drop(after=13 * 2**20), "*/model.safetensors")
    assert content_of(fetch("ann/large", token=token).folder) == content_of(large)
    assert ranges(hub) == [None, "bytes=10485760-"]


def test_a_download_that_failed_is_gone_on_with_by_the_next_one(
    hub: LocalHub, large: Path, hf_home: Path, token: str
) -> None:
    hub.faults.add(Drop(after=13 * 2**20), "*/model.safetensors")
    refusal = hub.faults.add(Status(503), "*/resolve/*/model.safetensors", method="GET", times=None, skip=1)
    with pytest.raises(HubError, match="503"):
        fetch("ann/large", token=token)
    assert refusal.struck
    (part,) = hf_home.rglob("*.incomplete")
    assert part.stat().st_size == 10 * 2**20
    hub.faults.clear()
    assert content_of(fetch("ann/large", token=token).folder) == content_of(large)
    assert ranges(hub) == [None, "bytes=10485760-"]
    assert not list(hf_home.rglob("*.incomplete"))


@pytest.mark.parametrize("size", [10 * 2**20, 24 * 2**20, 25 * 2**20])
def test_a_rest_that_is_damaged_costs_a_second_download_only(
    hub: LocalHub, large: Path, hf_home: Path, token: str, size: int
) -> None:
    hub.faults.add(Status(503), "*/resolve/*/model.safetensors", method="GET", times=None)
    with pytest.raises(HubError):
        fetch("ann/large", token=token)
    hub.faults.clear()
    (part,) = hf_home.rglob("*.incomplete")
    part.write_bytes(b"?" * size)
    assert content_of(fetch("ann/large", token=token).folder) == content_of(large)
    assert len(ranges(hub)) <= 2


def test_two_processes_that_fetch_one_file_do_not_mix(hub: LocalHub, large: Path, hf_home: Path, token: str) -> None:
    oid = hub.repo("ann/large").resolve().files["model.safetensors"].sha256
    part = hf_home / "hub" / "models--ann--large" / "blobs" / f"{oid}.fashreg.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"? of the other one")
    with lock_folder(part):
        assert content_of(fetch("ann/large", token=token).folder) == content_of(large)
    assert part.read_bytes() == b"? of the other one"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_refusal_for_a_while_is_waited_out(
    hub: LocalHub, repo: Repository, folder: Path, name: str, method: str
) -> None:
    order = hub.faults.add(Status(503), f"*/{name}", method=method, times=2)
    assert content_of(fetch("ann/bags").folder) == content_of(folder)
    assert order.struck == 2


@pytest.mark.parametrize("name", EVERY)
def test_a_connection_that_is_cut_before_any_answer_is_tried_again(
    hub: LocalHub, repo: Repository, folder: Path, name: str
) -> None:
    hub.faults.add(Drop(), f"*/{name}", method="HEAD")
    hub.faults.add(Drop(), f"*/{name}", method="GET")
    assert content_of(fetch("ann/bags").folder) == content_of(folder)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_refusal_for_ever_ends_in_an_error_and_no_half_file(
    hub: LocalHub, repo: Repository, hf_home: Path, name: str, method: str
) -> None:
    hub.faults.add(Status(503), f"*/{name}", method=method, times=None)
    with pytest.raises(HubError, match=r"answers 503 for ann/bags.*try again later") as said:
        fetch("ann/bags")
    assert said.value.status == 503
    found = files_in(hf_home)
    assert name not in found
    assert all(content == {**FILES, MANIFEST: content}[other] for other, content in found.items())
    assert not list(hf_home.rglob("refs/main"))


def test_after_a_failure_the_next_fetch_goes_on_with_what_is_there(
    hub: LocalHub, repo: Repository, folder: Path
) -> None:
    hub.faults.add(Status(503), "*/model.safetensors", method="GET", times=None)
    with pytest.raises(HubError):
        fetch("ann/bags")
    hub.faults.clear()
    before = len(hub.requests)
    assert content_of(fetch("ann/bags").folder) == content_of(folder)
    got = {r.path.rpartition("/")[2] for r, _ in hub.requests[before:] if r.method == "GET"}
    assert got == {"model.safetensors"}


def test_a_server_that_hangs_is_left_and_asked_again(
    hub: LocalHub, repo: Repository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.faults.add(Slow(0.6), "*/config.json", method="GET")
    assert content_of(fetch("ann/bags").folder) == content_of(folder)


def test_a_hub_that_fails_leaves_the_last_version_in_use(
    hub: LocalHub, repo: Repository, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = fetch("ann/bags")
    repo.put(content_of(folder_of(tmp_path / "next", {**FILES, "config.json": b"{}"})))
    hub.faults.add(Status(503), times=None)
    assert fetch("ann/bags").commit == first.commit
    assert f"answers 503 for ann/bags: Fault on order: 503: try again later; taking {first.commit[:12]}" in caplog.text


def test_a_version_that_came_in_part_does_not_replace_the_last_whole_one(
    hub: LocalHub, repo: Repository, tmp_path: Path
) -> None:
    first = fetch("ann/bags")
    repo.put(content_of(folder_of(tmp_path / "next", {**FILES, "model.safetensors": b"new" * 50_000})))
    hub.faults.add(Status(503), "*/model.safetensors", method="GET", times=None)
    with pytest.raises(HubError):
        fetch("ann/bags")
    found = fetch("ann/bags", local_files_only=True)
    assert found.commit == first.commit
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS


# ---- other bytes ----


@pytest.mark.parametrize("name", EVERY)
def test_a_flipped_bit_is_noticed_and_the_file_fetched_once_more(
    hub: LocalHub, repo: Repository, folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults.add(Flip(), f"*/{name}")
    assert content_of(fetch("ann/bags").folder) == content_of(folder)
    asked = [r for r in hub.asked(f"/{name}", "GET") if r.side == ("storage" if name in LARGE else "hub")]
    assert len(asked) == 2
    assert f"{name} is damaged" in caplog.text


@pytest.mark.parametrize("name", EVERY)
def test_a_bit_that_is_flipped_every_time_ends_in_an_error_that_names_the_file(
    hub: LocalHub, repo: Repository, hf_home: Path, name: str
) -> None:
    order = hub.faults.add(Flip(), f"*/{name}", times=None)
    with pytest.raises(HubError, match=rf"{name} is damaged: its digest is not the one.*fetched twice"):
        fetch("ann/bags")
    assert order.struck == 2
    assert name not in files_in(hf_home)
    assert not list(hf_home.rglob("refs/main"))
    bodies = {p.read_bytes() for p in hf_home.rglob("blobs/*") if p.is_file()}
    assert bodies <= {content for other, content in repo.files().items() if other != name}


@pytest.mark.parametrize("by", [-1, 1, -1000, 1000])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_another_length_is_fetched_once_more(
    hub: LocalHub, repo: Repository, folder: Path, name: str, by: int
) -> None:
    hub.faults.add(WrongSize(by), f"*/{name}")
    assert content_of(fetch("ann/bags").folder) == content_of(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_always_has_another_length_ends_in_an_error(
    hub: LocalHub, repo: Repository, hf_home: Path, name: str
) -> None:
    hub.faults.add(WrongSize(3), f"*/{name}", times=None)
    with pytest.raises(HubError, match="ann/bags"):
        fetch("ann/bags")
    assert name not in files_in(hf_home)


def test_a_bit_that_flips_on_this_disk_is_mended_from_the_hub(hub: LocalHub, repo: Repository, folder: Path) -> None:
    found = fetch("ann/bags").folder
    for name in EVERY:
        content = bytearray((found / name).read_bytes())
        content[-1] ^= 1
        (found / name).resolve().write_bytes(bytes(content))
    assert content_of(fetch("ann/bags").folder) == content_of(folder)


# ---- elsewhere ----


def test_a_redirect_to_another_host_gets_no_token(hub: LocalHub, folder: Path, token: str) -> None:
    published(hub, folder, private=True)
    with LocalHub() as other:
        published(other, folder)
        for name in ("config.json", "model.safetensors"):
            to = f"{other.endpoint}/ann/bags/resolve/main/{name}"
            hub.faults.add(Redirect(to), f"/ann/bags/resolve/*/{name}", method="GET", times=None)
        with contextlib.suppress(HubError):  # not every client follows; what counts is what the other host was told
            fetch("ann/bags", token=token)
        assert other.requests
        assert not any(r.authorized for r, _ in other.requests)
    assert not any(r.authorized for r in hub.asked("/storage/", side="storage"))


def test_a_mirror_that_hides_the_commit_is_no_hub(hub: LocalHub, repo: Repository) -> None:
    def without(answer: Answer) -> Answer:
        return replace(answer, headers={k: v for k, v in answer.headers.items() if k != "X-Repo-Commit"})

    hub.faults.add(Edit(without), "*/resolve/*", times=None)
    with pytest.raises(HubError, match="does HF_ENDPOINT name a mirror"):
        fetch("ann/bags")


@pytest.mark.parametrize("size", [300_000, 24 * 2**20])
def test_a_client_told_not_to_use_xet_gets_everything_over_http(hub: LocalHub, tmp_path: Path, size: int) -> None:
    hub.xet = True
    folder = folder_of(tmp_path / "large", {**FILES, "model.safetensors": bytes(size)})
    published(hub, folder)
    assert content_of(fetch("ann/bags").folder) == content_of(folder)
    assert not hub.asked("xet")


def test_an_xet_storage_that_refuses_is_an_error_of_the_hub(
    hub: LocalHub, repo: Repository, hf_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.xet = True
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False, raising=False)
    with contextlib.suppress(HubError):  # clients without Xet take plain HTTP and succeed
        fetch("ann/bags")
    assert files_in(hf_home).get("model.safetensors", WEIGHTS) == WEIGHTS
    assert hub.asked("xet") or "model.safetensors" in files_in(hf_home)


@pytest.mark.parametrize("etag", ["../../../evil", "/etc/evil", "a b", ""])
def test_a_label_that_is_no_name_of_a_file_is_refused(
    hub: LocalHub, repo: Repository, hf_home: Path, etag: str
) -> None:
    def labelled(answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "ETag": f'"{etag}"'})

    hub.faults.add(Edit(labelled), "*/config.json", times=None)
    with pytest.raises(HubError, match="answers with the ETag"):
        fetch("ann/bags")
    assert not list(hf_home.rglob("*evil*"))


def test_a_hub_that_goes_away_in_the_middle_is_said(hub: LocalHub, repo: Repository, hf_home: Path) -> None:
    with pytest.raises(HubOfflineError, match="cannot be reached"):
        fetch("ann/bags", check=lambda place, manifest: hub.close())
    assert "model.safetensors" not in files_in(hf_home)

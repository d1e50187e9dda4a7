"""The local Hub answers an unmodified huggingface_hub as the Hub does, and its faults strike where they should."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from fashreg.testing.local_hub import (
    Answer,
    Drop,
    DropUpload,
    Edit,
    Flip,
    LocalHub,
    Redirect,
    Slow,
    Status,
    WrongSize,
    client_of,
)
from fashreg.testing.local_hub.answers import Request
from fashreg.testing.local_hub.connection import _part
from fashreg.testing.local_hub.routes_files import signature

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def api(hub: LocalHub, token: str) -> HfApi:
    return HfApi(token=token)


@pytest.fixture
def repo(hub: LocalHub) -> str:
    hub.create("ann/x", {"config.json": "{}", "model.safetensors": WEIGHTS})
    return "ann/x"


def asked(url: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Mapping]:
    """A request without any client."""
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(HfHubHTTPError) as caught:
        call()
    return int(caught.value.response.status_code)


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


# --- looking around


def test_trees_are_listed_page_by_page(hf_home: Path) -> None:
    files = {"a": "1", "d/b": "2", "d/e/c": "3", "z.bin": b"\0"}
    with LocalHub(page_size=2) as hub, client_of(hub, hf_home):
        hub.create("ann/x", files)
        api = HfApi()
        assert {e.path for e in api.list_repo_tree("ann/x")} == {".gitattributes", "a", "d", "z.bin"}
        assert {e.path for e in api.list_repo_tree("ann/x", "d")} == {"d/b", "d/e"}
        deep = {e.path: e for e in api.list_repo_tree("ann/x", recursive=True, expand=True)}
        assert set(deep) == {*files, ".gitattributes", "d", "d/e"}
        assert deep["z.bin"].lfs.sha256 == hashlib.sha256(b"\0").hexdigest()
        assert deep["a"].last_commit.title == "put"
        assert sorted(api.list_repo_files("ann/x")) == sorted([*files, ".gitattributes"])
        assert len(api.list_repo_commits("ann/x")) == 2
        with pytest.raises(EntryNotFoundError):
            list(api.list_repo_tree("ann/x", "nowhere"))
        assert hub.failures == []


def test_a_repository_tells_its_files_and_sizes(hub: LocalHub, repo: str) -> None:
    info = HfApi().model_info(repo, files_metadata=True)
    assert (info.sha, info.private, info.gated) == (hub.repo(repo).head, False, False)
    sizes = {s.rfilename: (s.size, s.lfs and s.lfs.sha256) for s in info.siblings}
    assert sizes["config.json"] == (2, None)
    assert sizes["model.safetensors"] == (10240, hashlib.sha256(WEIGHTS).hexdigest())


def test_branches_and_tags_come_and_go(hub: LocalHub, api: HfApi, repo: str) -> None:
    first = hub.repo(repo).head
    api.create_tag(repo, tag="v1/a", tag_message="one")
    api.create_branch(repo, branch="next")
    second = api.upload_file(path_or_fileobj=b"2", path_in_repo="two", repo_id=repo, revision="next").oid
    refs = api.list_repo_refs(repo)
    assert {b.name: b.target_commit for b in refs.branches} == {"main": first, "next": second}
    assert [(t.name, t.ref, t.target_commit) for t in refs.tags] == [("v1/a", "refs/tags/v1/a", first)]
    assert api.model_info(repo, revision="v1/a").sha == api.model_info(repo, revision=first[:8]).sha == first
    assert Path(hf_hub_download(repo, "two", revision="next")).read_bytes() == b"2"
    assert status_of(lambda: api.create_tag(repo, tag="v1/a")) == 409
    assert [c.title for c in api.list_repo_commits(repo, revision="v1/a")] == ["put", "initial commit"]
    api.delete_tag(repo, tag="v1/a")
    api.delete_branch(repo, branch="next")
    for gone in ("v1/a", "next"):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(repo, revision=gone)
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(repo, tag="v1/a")
    assert status_of(lambda: api.delete_branch(repo, branch="main")) == 403


def test_what_is_missing_is_refused_by_its_kind(hub: LocalHub, api: HfApi, repo: str) -> None:
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(repo, "missing")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(repo, "config.json", revision="missing")
    for who in (api, HfApi(token=False)):
        with pytest.raises(RepositoryNotFoundError):
            who.model_info("ann/missing")
    assert asked(f"{hub.endpoint}/nothing")[0] == 404


# --- who may do what


def test_a_private_repository_exists_for_its_owner_only(hub: LocalHub, api: HfApi) -> None:
    hub.create("ann/secret", {"a": "1"}, private=True)
    hub.create("house/secret", {"a": "1"}, private=True)
    for other in (False, hub.token("bob")):
        with pytest.raises(RepositoryNotFoundError):
            HfApi().model_info("ann/secret", token=other)
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("ann/secret", "a", token=other)
    assert api.model_info("ann/secret").private
    assert hf_hub_download("ann/secret", "a", token=hub.token("ann", write=False))
    assert hf_hub_download("house/secret", "a", token=hub.token("bob", organizations=("house",)))


def test_a_gated_repository_is_seen_by_all_and_read_by_some(hub: LocalHub, api: HfApi) -> None:
    gated = hub.create("ann/gated", {"a": "1"}, gated=True)
    bob = hub.token("bob")
    for other in (False, bob):
        assert HfApi().model_info("ann/gated", token=other).gated == "auto"
        with pytest.raises(GatedRepoError):
            hf_hub_download("ann/gated", "a", token=other)
        with pytest.raises(GatedRepoError):
            HfApi().auth_check("ann/gated", token=other)
    assert hf_hub_download("ann/gated", "a", token=api.token)
    gated.granted.add("bob")
    assert hf_hub_download("ann/gated", "a", token=bob)


def test_a_token_that_only_reads_cannot_write(hub: LocalHub, repo: str) -> None:
    reader = HfApi(token=hub.token("ann", write=False))
    before = hub.repo(repo).head
    assert status_of(lambda: reader.create_repo("ann/new")) == 403
    assert status_of(lambda: reader.create_tag(repo, tag="t")) == 403
    assert status_of(lambda: reader.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=repo)) == 403
    assert (hub.repo(repo).head, hub.repo(repo).tags, hub.has("ann/new")) == (before, {}, False)


def test_others_write_by_pull_request_only(hub: LocalHub, repo: str) -> None:
    bob, before = HfApi(token=hub.token("bob")), hub.repo(repo).head
    assert status_of(lambda: bob.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=repo)) == 403
    assert status_of(lambda: bob.create_repo("ann/new")) == 403
    add = [CommitOperationAdd("a.bin", WEIGHTS)]
    done = bob.create_commit(repo, add, commit_message="offer", create_pr=True)
    assert (done.pr_revision, done.pr_num) == ("refs/pr/1", 1)
    assert Path(hf_hub_download(repo, "a.bin", revision="refs/pr/1")).read_bytes() == WEIGHTS
    assert hub.repo(repo).head == before
    pulls = bob.list_repo_refs(repo, include_pull_requests=True).pull_requests
    assert [(p.ref, p.target_commit) for p in pulls] == [("refs/pr/1", done.oid)]


def test_the_storage_takes_signed_addresses_and_no_tokens(hub: LocalHub, token: str, repo: str) -> None:
    head = huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "model.safetensors"))
    assert asked(head.location)[:2] == (200, WEIGHTS)
    assert asked(head.location, Authorization=f"Bearer {token}")[0] == 400
    assert asked(head.location[:-1] + "x")[0] == 403
    assert Path(hf_hub_download(repo, "model.safetensors", token=token)).read_bytes() == WEIGHTS
    assert not any(r.authorized for r in hub.asked("/storage/")[-1:])


# --- parts of files


@given(st.binary(max_size=40), st.integers(0, 45), st.integers(0, 45))
def test_every_range_is_the_slice_of_the_file(content: bytes, first: int, last: int) -> None:
    whole = Answer(200, {}, content, ranged=True)
    for wanted, part in (
        (f"bytes={first}-{last}", content[first : last + 1]),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{last}", content[max(len(content) - last, 0) :]),
    ):
        answer = _part(whole, wanted)
        assert (answer.status, answer.content) == ((206, part) if part else (416, b""))
        if part:
            begin = answer.headers["Content-Range"].removeprefix("bytes ").partition("-")[0]
            assert content[int(begin) :].startswith(part)
    assert _part(whole, "lines=1-2") is whole


def test_parts_of_files_are_sent_on_their_own(hub: LocalHub, repo: str) -> None:
    for path in ("config.json", "model.safetensors"):
        url = huggingface_hub.hf_hub_url(repo, path)
        content = hub.repo(repo).files()[path]
        status, part, headers = asked(url, Range="bytes=1-")
        assert (status, part, headers["Content-Range"]) == (
            206,
            content[1:],
            f"bytes 1-{len(content) - 1}/{len(content)}",
        )
        assert asked(url, Range="bytes=99999-")[0] == 416
    assert asked(huggingface_hub.hf_hub_url(repo, "config.json"), method="HEAD")[1] == b""


def test_small_files_may_be_answered_by_a_redirect_as_on_the_real_hub(hf_home: Path) -> None:
    with LocalHub(redirecting=True) as hub, client_of(hub, hf_home):
        hub.create("ann/x", {"d/config.json": "{}"})
        assert Path(hf_hub_download("ann/x", "d/config.json")).read_bytes() == b"{}"
        assert hub.asked("/resolve-cache/", method="GET")
        assert hub.failures == []


# --- faults


def test_a_refusal_on_order_strikes_as_often_as_ordered(hub: LocalHub, repo: str) -> None:
    order = hub.faults.add(Status(503, retry_after="7"), "*/config.json", times=2, skip=1, method="GET")
    url = huggingface_hub.hf_hub_url(repo, "config.json")
    assert [asked(url)[0] for _ in range(5)] == [200, 503, 503, 200, 200]
    assert (order.struck, [s for _, s in hub.requests]) == (2, [200, 503, 503, 200, 200])
    hub.faults.add(Status(429, retry_after="7"), times=None)
    assert [asked(url)[2]["Retry-After"] for _ in range(3)] == ["7"] * 3
    hub.faults.clear()
    assert asked(url)[0] == 200


def test_the_client_waits_and_asks_again_when_the_storage_refuses_an_upload(
    hub: LocalHub, api: HfApi, repo: str, waits: list[float]
) -> None:
    order = hub.faults.add(Status(503), "/upload/*", times=2)
    api.upload_file(path_or_fileobj=b"\0new", path_in_repo="a.bin", repo_id=repo)
    assert (order.struck, len(waits)) == (2, 2)
    assert hub.repo(repo).files()["a.bin"] == b"\0new"


def test_a_connection_is_cut_in_the_middle_of_a_file(hub: LocalHub, repo: str) -> None:
    order = hub.faults.add(Drop(after=1000), "*/model.safetensors")
    url = huggingface_hub.hf_hub_url(repo, "model.safetensors")
    with urllib.request.urlopen(url, timeout=10) as answer, pytest.raises(Exception, match="IncompleteRead") as cut:
        answer.read()
    assert cut.value.partial == WEIGHTS[:1000]
    assert asked(url, Range="bytes=1000-")[1] == WEIGHTS[1000:]
    assert order.struck == 1


@pytest.mark.parametrize("done", [False, True])
def test_a_cut_without_an_answer_leaves_the_request_undone_or_done(
    hub: LocalHub, api: HfApi, repo: str, waits: list[float], done: bool
) -> None:
    before = hub.repo(repo).head
    order = hub.faults.add(Drop(done=done), "*/commit/main", method="POST", times=None)
    with pytest.raises(Exception, match=r"(?i)connection|disconnect|reset"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="a", repo_id=repo)
    assert order.struck >= 1
    assert ("a" in hub.repo(repo).files()) is done
    assert (hub.repo(repo).head != before) is done


def test_an_upload_is_cut_while_it_runs(hub: LocalHub, api: HfApi, repo: str, waits: list[float]) -> None:
    order = hub.faults.add(DropUpload(after=1 << 20), "/upload/*", times=2)
    large = os.urandom(4 << 20)
    api.upload_file(path_or_fileobj=large, path_in_repo="a.bin", repo_id=repo)
    assert order.struck == 2
    assert hub.repo(repo).files()["a.bin"] == large


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
def test_a_client_that_dies_while_it_sends_has_asked_for_nothing(
    hub: LocalHub, token: str, repo: str, framing: str
) -> None:
    before = hub.repo(repo).head
    lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": {"path": "a", "content": "x"}}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    head = f"POST /api/models/{repo}/commit/main HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(hub.endpoint).port)) as connection:
        connection.sendall(head.encode() + (b"%x\r\n%b\r\n" % (len(body), body) if "chunked" in framing else body))
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(100) == b""
    assert hub.repo(repo).head == before
    assert [(r.method, s) for r, s in hub.requests] == [("POST", 0)]


def test_a_body_may_come_in_chunks(hub: LocalHub, api: HfApi, repo: str) -> None:
    content = os.urandom(300)
    path = f"/upload/{repo}/{hashlib.sha256(content).hexdigest()}"
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(hub.storage).port)
    connection.request("PUT", f"{path}?X-Signature={signature(hub, path)}", iter([content[:100], content[100:]]))
    assert connection.getresponse().status == 200
    connection.close()
    assert hub.arrived == {(path.rpartition("/")[2], 0): content}


def test_the_client_does_not_see_a_flipped_bit(hub: LocalHub, repo: str) -> None:
    hub.faults.add(Flip(at=5000), "*/model.safetensors")
    got = Path(hf_hub_download(repo, "model.safetensors")).read_bytes()
    assert [n for n in range(len(got)) if got[n] != WEIGHTS[n]] == [5000]


@pytest.mark.parametrize("by", [7, -7])
def test_the_client_sees_a_wrong_size(hub: LocalHub, repo: str, by: int) -> None:
    hub.faults.add(WrongSize(by), "*/model.safetensors", times=None)
    with pytest.raises(OSError, match="Consistency check failed"):
        hf_hub_download(repo, "model.safetensors")


def test_a_redirect_away_reaches_the_stranger_without_the_token(hub: LocalHub, token: str, repo: str) -> None:
    with LocalHub() as stranger:
        stranger.create("bob/y", {"fake.txt": WEIGHTS[::-1]})
        hub.faults.add(Redirect(f"{stranger.endpoint}/bob/y/resolve/main/fake.txt"), "*/model.safetensors", times=None)
        got = Path(hf_hub_download(repo, "model.safetensors", token=token)).read_bytes()
        assert got == WEIGHTS[::-1]
        assert len(stranger.requests) > 0
        assert not any(request.authorized for request, _ in stranger.requests)


def test_an_answer_is_late_or_edited(hub: LocalHub, repo: str) -> None:
    url = f"{hub.endpoint}/api/models/{repo}"
    hub.faults.add(Slow(0.05), "/api/*")
    hub.faults.add(Edit(lambda answer: Answer(answer.status, answer.headers, b"[]")), "/api/*")
    assert asked(url)[:2] == (200, b"[]")
    assert json.loads(asked(url)[1])["id"] == repo


def test_a_file_is_sent_slowly(hub: LocalHub, repo: str) -> None:
    hub.faults.add(Slow(0.02, every=2000), "/storage/*")
    begin = time.perf_counter()
    assert asked(huggingface_hub.hf_hub_url(repo, "model.safetensors"))[1] == WEIGHTS
    assert time.perf_counter() - begin > 0.1


def test_a_client_told_not_to_use_xet_does_not(hf_home: Path) -> None:
    with LocalHub(xet=True) as hub, client_of(hub, hf_home):
        hub.create("ann/x", {"model.safetensors": WEIGHTS})
        assert next(iter(HfApi().list_repo_tree("ann/x", expand=True))).path == ".gitattributes"
        assert asked(f"{hub.endpoint}/api/models/ann/x/tree/main")[1].count(b'"xetHash"') == 1
        assert asked(f"{hub.endpoint}/api/models/ann/x/xet-read-token/main")[0] == 501
        hub.requests.clear()
        assert Path(hf_hub_download("ann/x", "model.safetensors")).read_bytes() == WEIGHTS
        assert not hub.asked("xet")


def test_a_hub_that_stops_cuts_its_connections(tmp_path: Path) -> None:
    with LocalHub() as hub, client_of(hub, tmp_path):
        hub.create("ann/x", {"a": "1"})
        assert HfApi().model_info("ann/x")
        hub.close()
        with pytest.raises(urllib.error.URLError):
            asked(hub.endpoint)


def test_what_the_hub_cannot_handle_is_an_answer_and_is_kept(tmp_path: Path) -> None:
    with LocalHub() as hub:
        bearer = f"Bearer {hub.token('ann')}"
        hub.create("ann/x")
        url = f"{hub.endpoint}/api/models/ann/x/preupload/main"
        assert asked(url, method="POST", body=b"{}", Authorization=bearer)[0] == 500
        assert [type(failure) for failure in hub.failures] == [KeyError]
        assert asked(url, method="POST", body=b"{", Authorization=bearer)[0] == 400


def test_a_request_is_remembered_without_its_token_in_the_repr() -> None:
    request = Request("hub", "GET", "/", "", {"authorization": "Bearer hf_secret"})
    assert request.authorized
    assert "hf_secret" not in repr(request)

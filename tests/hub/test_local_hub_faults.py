"""Faults on order: refusals, cuts, flipped bits and late answers strike where they should."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub import HfApi, hf_hub_download
from hypothesis import given
from hypothesis import strategies as st
from plain_requests import WEIGHTS, asked

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

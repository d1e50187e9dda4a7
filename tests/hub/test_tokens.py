"""A token goes into the header of a request and nowhere else: no log, no message, no traceback, no file."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shelf import stop_the_clock
from small_folders import small_folder

from fashreg.cli import run
from fashreg.errors import FashregError
from fashreg.hub.fetch import fetch
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.hub.revisions import create_tag, versions
from fashreg.jobs.opening import open_model
from fashreg.testing.local_hub import Drop, LocalHub, Status

STRANGER = "hf_" + "stranger" * 4
REPO = "ann/secret"


class Everything(logging.Handler):
    """Every record of every logger, as it would be printed, with its traceback."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whatever anybody logs, at the chattiest."""
    handler = Everything()
    names = ["", "huggingface_hub", "fashreg", "httpx", "httpcore", "urllib3", "requests"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(1)
    yield handler.lines
    for name in names:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(before[name])


def told(deed: Callable[[], Any]) -> str:
    """What is to be seen of a deed's result, or of its failure with all that led to it."""
    try:
        done = deed()
    except FashregError as error:
        chain = "".join(traceback.format_exception(error))
        return f"{error} {error!r} {error.args} {vars(error)} {chain}"
    return f"{done} {done!r}"


def holders(place: Path, tokens: list[str]) -> list[str]:
    """Files that hold a token."""
    files = [p for p in place.rglob("*") if p.is_file()]
    assert files
    return [p.name for p in files if any(token.encode() in p.read_bytes() for token in tokens)]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_token_is_in_no_log_no_message_no_traceback_and_no_file(
    way: str,
    hub: LocalHub,
    logged: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stop_the_clock(monkeypatch)
    reader = hub.token("ann", write=False)
    writer = hub.token("ann")
    tokens = [writer, reader, STRANGER]
    model = small_folder(tmp_path / "model")

    def using(token: str, deed: Callable[..., Any], *given: Any, **more: Any) -> str:
        if way == "argument":
            return told(lambda: deed(*given, token=token, **more))
        with monkeypatch.context() as patch:
            patch.setenv("HF_TOKEN", token)
            return told(lambda: deed(*given, **more))

    said = [using(writer, push, model, REPO, private=True), using(writer, fetch, REPO)]
    assert hub.repo(REPO).private
    assert "Fetched" in said[1]
    said += [using(writer, versions, REPO), using(writer, create_tag, REPO, "v1")]
    said += [using(writer, pull, REPO, tmp_path / "out"), using(writer, push, tmp_path / "out", REPO)]
    small_folder(tmp_path / "model", value=2.0)
    said += [using(reader, push, model, REPO), using(STRANGER, push, model, REPO)]
    for token in (reader, STRANGER):
        said += [
            using(token, fetch, "bob/nothing"),
            using(token, fetch, f"{REPO}@nowhere"),
            using(token, versions, REPO),
        ]
    hub.faults.add(Status(503), path="*/resolve/*", times=None)
    hub.faults.add(Drop(3), path="/api/*", times=2)
    said += [
        using(writer, deed, *given) for deed, *given in ((push, model, REPO), (fetch, REPO, "main"), (versions, REPO))
    ]
    hub.faults.clear()
    for token in tokens:
        with monkeypatch.context() as patch:
            patch.setenv("HF_TOKEN", token)
            run(["push", str(model), REPO])
            run(["pull", REPO, "--out", str(tmp_path / "again")])
            said.append(told(lambda: open_model(REPO)))
    printed = capsys.readouterr()
    assert sum("403" in text for text in said) >= 1
    assert sum("401" in text or "does not accept" in text for text in said) >= 1
    assert sum("503" in text for text in said) >= 1
    logging.getLogger("huggingface_hub.x").debug("sent %s", "hf_seen")
    assert len(logged) > 20
    assert any("hf_seen" in line for line in logged)
    for place, text in {
        "results": "\n".join(said),
        "logs": "\n".join(logged),
        "out": printed.out,
        "err": printed.err,
    }.items():
        assert not [token for token in tokens if token in text], place
    assert holders(tmp_path, tokens) == []

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from fashreg.errors import HubConflictError, HubError, HubOfflineError, ModelError
from fashreg.hub.client import endpoint, hub_api, plain_text, translated, with_retries
from fashreg.testing.local_hub import Answer, Drop, Edit, LocalHub, Status

Ask = Callable[[], Any]


@pytest.fixture
def ask(hub: LocalHub) -> Ask:
    """Ask who I am: one request that the client never repeats."""
    api = hub_api(hub.token("ann"))
    return lambda: api.whoami()


def counted(hub: LocalHub) -> int:
    return len(hub.asked("whoami"))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_stumbles_is_asked_again(hub: LocalHub, ask: Ask, status: int) -> None:
    hub.faults.add(Status(status), "*whoami*", times=2)
    slept: list[float] = []
    assert with_retries(ask, sleep=slept.append)["name"] == "ann"
    assert counted(hub) == 3
    assert 0.25 <= slept[0] <= 0.5 <= 2 * slept[1] <= 2.0


def test_a_cut_connection_is_asked_again(hub: LocalHub, ask: Ask) -> None:
    hub.faults.add(Drop(), "*whoami*")
    assert with_retries(ask, sleep=lambda s: None)["name"] == "ann"


def test_patience_has_an_end(hub: LocalHub, ask: Ask) -> None:
    hub.faults.add(Status(503), "*whoami*", times=None)
    slept: list[float] = []
    with pytest.raises(HubError, match=r"answers 503 for ann/bags.*try again later") as said, translated("ann/bags"):
        with_retries(ask, sleep=slept.append)
    assert said.value.status == 503
    assert counted(hub) == 5
    assert sum(slept) < 8


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412])
def test_a_refusal_is_not_asked_again(hub: LocalHub, ask: Ask, status: int) -> None:
    hub.faults.add(Status(status), "*whoami*", times=None)
    with pytest.raises(HubError) as said, translated("ann/bags"):
        with_retries(ask, sleep=lambda s: pytest.fail("it waited"))
    assert said.value.status == status
    assert isinstance(said.value, HubConflictError) == (status in (409, 412))
    assert counted(hub) == 1


def test_the_server_says_how_long_to_wait(hub: LocalHub, ask: Ask) -> None:
    hub.faults.add(Status(429, retry_after="7"), "*whoami*")
    hub.faults.add(Status(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), "*whoami*")
    slept: list[float] = []
    with_retries(ask, sleep=slept.append)
    assert slept == [7.0, 0.0]


def test_nobody_waits_an_hour(hub: LocalHub, ask: Ask) -> None:
    hub.faults.add(Status(429, retry_after="3600"), "*whoami*", times=None)
    with pytest.raises(HubError, match="try again in 3600 seconds, as it asks"), translated("ann/bags"):
        with_retries(ask, sleep=lambda s: pytest.fail("it waited"))


def test_our_own_mistakes_are_neither_repeated_nor_renamed() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise KeyError("x")

    with pytest.raises(KeyError), translated("ann/bags"):
        with_retries(call, sleep=lambda s: None)
    assert len(calls) == 1
    with pytest.raises(ModelError), translated("ann/bags"):
        raise ModelError("as it is")


def test_a_full_disk_is_said_once() -> None:
    def call() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(HubError, match="No space left"), translated("ann/bags"):
        with_retries(call, sleep=lambda s: pytest.fail("it waited"))


def test_a_hub_that_is_not_there_is_said_with_its_address(hub: LocalHub, ask: Ask) -> None:
    hub.close()
    with pytest.raises(HubOfflineError, match=f"{hub.endpoint} cannot be reached"), translated("ann/bags"):
        with_retries(ask, sleep=lambda s: None)


def test_what_a_server_says_is_one_short_line_without_control_characters(hub: LocalHub) -> None:
    nasty = "\x1b[31mred\x1b[0m " + "long " * 500
    content = json.dumps({"error": nasty}).encode()
    lie = Edit(lambda answer: Answer(403, {"Content-Type": "application/json"}, content))
    hub.faults.add(lie, "/api/models/*")
    with pytest.raises(HubError, match="red") as said, translated("ann/bags"):
        hub_api().model_info("ann/bags")
    assert str(said.value).isprintable()
    assert len(plain_text(ValueError(nasty))) < 310
    assert plain_text(ValueError(nasty)).isprintable()


def test_addresses_lose_their_passwords_and_signatures() -> None:
    text = plain_text(ValueError("for url 'https://ann:secret@mirror.example/x?X-Amz-Signature=abc' (404)"))
    assert text == "for url 'https://mirror.example/x' (404)"


def test_the_endpoint_is_said_without_its_password(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://ann:secret@mirror.example/hub")
    assert endpoint() == "https://mirror.example/hub"


def test_no_token_is_in_an_error_or_its_tracebacks_words(hub: LocalHub) -> None:
    token = hub.token("ann")
    for status in (401, 403, 404, 500):
        hub.faults.add(Status(status), "*whoami*")
        with pytest.raises(HubError) as said, translated("ann/bags"):
            hub_api(token).whoami()
        assert token not in "".join(traceback.format_exception(said.value))
        assert token not in repr(said.value) + str(vars(said.value))

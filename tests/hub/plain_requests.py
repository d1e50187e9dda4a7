"""Requests to the local Hub without any client, and what a client's error says."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

import pytest
from huggingface_hub.errors import HfHubHTTPError

WEIGHTS = bytes(range(256)) * 40


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

"""A Hub of its own for every test: `hub`, with this process's client sent there and a home that nobody else has.

Make `HfApi()` inside the test: the functions of the huggingface_hub module belong to an API made at its import.
Processes that a test starts with the environment of this one use the same Hub and home.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fashreg.testing.local_hub import LocalHub, client_of


@pytest.fixture
def hf_home(tmp_path: Path) -> Path:
    """HF_HOME of the test: the cache is in its folder `hub`."""
    return tmp_path / "hf-home"


@pytest.fixture
def hub(hf_home: Path) -> Iterator[LocalHub]:
    """A local Hub; the client is pointed at it, without a token."""
    with LocalHub() as server, client_of(server, hf_home):
        yield server


@pytest.fixture
def token(hub: LocalHub) -> str:
    """A token of ann that may write."""
    return hub.token("ann")

"""A Hub of its own for every test: `hub`, with this process's client sent there and a home that nobody else has.

Processes that a test starts with the environment of this one use the same Hub and home.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from plain_requests import WEIGHTS
from small_folders import small_folder

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
    assert server.failures == []


@pytest.fixture
def token(hub: LocalHub) -> str:
    """A token of ann that may write."""
    return hub.token("ann")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's own waiting between its retries, noted instead of done."""
    import huggingface_hub.file_download  # noqa: F401

    noted: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": noted.append})
    for name, module in list(sys.modules.items()):
        if name.startswith("huggingface_hub.") and vars(module).get("time") is time:
            monkeypatch.setattr(module, "time", clock)
    return noted


@pytest.fixture
def api(hub: LocalHub, token: str) -> HfApi:
    return HfApi(token=token)


@pytest.fixture
def repo(hub: LocalHub) -> str:
    hub.create("ann/x", {"config.json": "{}", "model.safetensors": WEIGHTS})
    return "ann/x"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "model")


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good folders, each opened once: whatever is imported late is imported now."""
    from hostile.bases import BASES
    from hostile.opening import open_folder

    root = tmp_path_factory.mktemp("good")
    for name, make in BASES.items():
        make(root / name)
        open_folder(name, root / name)
    return root

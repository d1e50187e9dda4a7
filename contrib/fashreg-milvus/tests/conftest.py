"""A Milvus server in another process: the engine of Milvus Lite behind a port, asked as a cluster is asked."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import sys, threading
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, engine, port = start_server_in_thread(sys.argv[1])
print(port, flush=True)
sys.stdin.read()
server.stop(grace=0)
engine.close()
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that ends with the tests."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("server") / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


@pytest.fixture(autouse=True)
def _reach(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Index folders of these tests may open the files and servers of these tests."""
    monkeypatch.setenv("FASHREG_REACH", f"{tmp_path_factory.getbasetemp()}/*, http://127.0.0.1:*")


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"

"""Where collections live: a private database of this process, a file of Milvus Lite, or a server.

Milvus Lite runs inside the process and is spoken to over a local port, as a server is. One process at a time may have
a file open; all indexes of that process share it, and it is let go when the last of them is closed.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import uuid
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from milvus_lite.exceptions import DataDirLockedError
from milvus_lite.server_manager import server_manager_instance
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from fashreg.errors import BusyError, ModelError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_open: Counter[str] = Counter()  # indexes of this process that have a file open
_abandoned: list[str] = []  # private collections that nobody can reach any more


class Database:
    """An open database, and the name of one collection in it. Closed with the object at the latest.

    uri: None for a private database that ends with the process, a path ending in .db, or http(s)://HOST:PORT.
    token_env: environment variable that holds the token of a server.
    """

    def __init__(self, uri: str | None, collection: str, token_env: str) -> None:
        if not _NAME.fullmatch(collection):
            raise ValueError(f"collection {collection!r}: Milvus takes letters, digits and _, the first no digit")
        self.local = uri is None or "://" not in uri
        self.private = uri is None
        self.name = f"private_{uuid.uuid4().hex}" if uri is None else collection
        self.path = _private_path() if uri is None else _checked(uri) if self.local else ""
        self.where = "a private database" if uri is None else str(uri)
        self.client = _local_client(self.path) if self.local else _server_client(str(uri), token_env)
        abandoned = _abandoned if self.private else None
        self.close = weakref.finalize(self, _close, self.client, self.path, self.name, abandoned)
        self.close.atexit = False  # the process lets everything go by itself, in its own order
        while self.private and _abandoned:
            self.client.drop_collection(_abandoned.pop())


@contextmanager
def quiet() -> Iterator[None]:
    """Without pymilvus's own log lines: every failure is raised as well."""
    logger = logging.getLogger("pymilvus")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _close(client: MilvusClient, path: str, name: str, abandoned: list[str] | None) -> None:
    if abandoned is not None:
        abandoned.append(name)  # dropped by the next who opens: a finalizer may run in the middle of another call
    client.close()
    if path:
        _open[path] -= 1
        if not _open[path] and abandoned is None:
            server_manager_instance.release_server(path)


def _private_path() -> str:
    folder = tempfile.mkdtemp(prefix="fashreg-milvus-") if not _folders else _folders[0]
    if not _folders:
        _folders.append(folder)
        atexit.register(_forget, folder)
    return os.path.join(folder, "private.db")


_folders: list[str] = []


def _forget(folder: str) -> None:
    server_manager_instance.release_server(os.path.join(folder, "private.db"))
    shutil.rmtree(folder, ignore_errors=True)


def _checked(uri: str) -> str:
    path = Path(os.path.realpath(uri))
    if path.suffix != ".db":
        raise ValueError(f"uri {uri!r}: a file of Milvus Lite ends in .db, a server begins with http:// or https://")
    if path.is_file():
        raise ModelError(f"{uri} is no database of Milvus Lite 3: those are folders; older ones must be filled anew")
    if not path.parent.is_dir():
        raise ModelError(f"{uri} cannot be made: there is no folder {path.parent}")
    return str(path)


def _local_client(path: str) -> MilvusClient:
    failures: list[BaseException] = []
    handler = _Failures(failures)
    logger = logging.getLogger("milvus_lite.server_manager")
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with quiet():  # the engine is on this machine, whatever proxy the environment names
            client = MilvusClient(path, grpc_options={"grpc.enable_http_proxy": 0})
    except MilvusException as error:
        if failures and isinstance(failures[0], DataDirLockedError):
            raise BusyError(f"another process has {path} open; Milvus Lite serves one at a time") from None
        raise ModelError(f"{path} cannot be opened: {failures[0] if failures else error.message}") from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
    _open[path] += 1
    return client


class _Failures(logging.Handler):
    """Keeps the reasons that Milvus Lite only logs."""

    def __init__(self, failures: list[BaseException]) -> None:
        super().__init__()
        self.failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.failures.append(record.exc_info[1])


def _server_client(uri: str, token_env: str) -> MilvusClient:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"uri {uri!r}: a server is http://HOST:PORT or https://HOST:PORT, a file ends in .db")
    if parts.username or parts.password:
        raise ValueError(f"uri: leave user and password out, they would be saved; put them in ${token_env}")
    try:
        with quiet():
            return MilvusClient(uri, token=os.environ.get(token_env, ""))
    except MilvusException as error:
        raise ModelError(f"no Milvus answers at {uri} (token: ${token_env}): {error.message}") from error

"""The local Hub: two HTTP servers on 127.0.0.1, one for the Hub and one for its storage of large files."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from types import TracebackType

from fashreg.testing.local_hub.answers import Account, Refusal, Request
from fashreg.testing.local_hub.connection import Connection
from fashreg.testing.local_hub.faults import Faults
from fashreg.testing.local_hub.store import Repository


class _Server(ThreadingHTTPServer):
    """One of the two servers; it knows its open connections so that closing it cuts them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, hub: LocalHub, side: str) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.hub, self.side = hub, side
        self.open: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, args=(0.02,), name=f"local-{side}", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the client cut is no news."""

    def stop(self) -> None:
        """No further connection, and an end to the open ones."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class LocalHub:
    """A Hugging Face Hub for tests: real HTTP on 127.0.0.1, everything in memory, gone with the `with` block.

        with LocalHub() as hub:
            api = HfApi(endpoint=hub.endpoint, token=hub.token("ann"))
            api.create_repo("ann/x")

    It speaks what huggingface_hub needs for models without Xet: whoami, create, delete, settings, info, tree,
    paths-info, commits, refs, branches, tags, preupload, LFS (batch, upload whole or in parts, verify), commit,
    resolve with ranges, private and gated repositories, read-only tokens, refusals with the Hub's error codes.

    `faults.add(...)` orders faults; `requests` is what was asked so far; `repo(name)` is a repository to look at and
    to change beside the client; `failures` are requests that the local Hub itself could not handle. `page_size`:
    entries per page of a list. `part_size`: larger files are uploaded in parts. `redirecting`: small files too are
    answered by a redirect, to another address of the Hub, as the real one does for cached ones.
    `xet`: large files are said to be in Xet storage as well; there is none, so a client that asks for it is refused.
    See also: pointing.client_of, which sends this process's client here.
    """

    def __init__(
        self,
        *,
        page_size: int = 1000,
        part_size: int = 64 * 1024 * 1024,
        redirecting: bool = False,
        xet: bool = False,
    ) -> None:
        self.page_size = page_size
        self.part_size = part_size
        self.redirecting = redirecting
        self.xet = xet
        self.secret = secrets.token_bytes(32)
        self.faults = Faults()
        self.requests: list[tuple[Request, int]] = []
        self.failures: list[Exception] = []
        self.objects: dict[str, bytes] = {}
        self.arrived: dict[tuple[str, int], bytes] = {}
        self._repositories: dict[str, Repository] = {}
        self._accounts: dict[str, Account] = {}
        self._lock = threading.RLock()
        self._hub, self._storage = _Server(self, "hub"), _Server(self, "storage")
        self.endpoint, self.storage = self._hub.url, self._storage.url

    def __enter__(self) -> LocalHub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop both servers and cut their connections."""
        self._hub.stop()
        self._storage.stop()

    def token(self, user: str = "ann", *, write: bool = True, organizations: tuple[str, ...] = ()) -> str:
        """A token of a user; the same one for the same arguments."""
        account = Account(user, write, organizations)
        with self._lock:
            for token, known in self._accounts.items():
                if known == account:
                    return token
            token = "hf_" + secrets.token_hex(17)
            self._accounts[token] = account
            return token

    def create(
        self,
        name: str,
        files: Mapping[str, bytes | str | None] | None = None,
        *,
        private: bool = False,
        gated: bool = False,
    ) -> Repository:
        """A repository without any client, with files if given."""
        with self._lock:
            if name in self._repositories:
                raise ValueError(f"the local Hub has a repository {name!r} already")
            repository = self._repositories[name] = Repository(name, private, gated)
        if files:
            repository.put(files)
        return repository

    def repo(self, name: str) -> Repository:
        """A repository to look at and to change."""
        return self._repositories[name]

    def has(self, name: str) -> bool:
        """Whether there is a repository of this name."""
        return name in self._repositories

    def drop(self, name: str) -> None:
        """One repository less."""
        del self._repositories[name]

    def asked(self, path: str = "", method: str = "", side: str = "") -> list[Request]:
        """The requests so far whose path contains `path`."""
        return [
            request
            for request, _ in self.requests
            if path in request.path and method in ("", request.method) and side in ("", request.side)
        ]

    def account(self, authorization: str | None) -> Account | None:
        """Who sends a request; a token that nobody has is refused."""
        if authorization is None:
            return None
        account = self._accounts.get(authorization.removeprefix("Bearer "))
        if account is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return account

    def readable(self, name: str, request: Request) -> Repository:
        """A repository that the sender may see; others do not exist for them."""
        repository = self._repositories.get(name)
        account = request.account
        seen = repository is not None and (
            not repository.private or (account is not None and account.owns(repository.namespace))
        )
        if repository is None or not seen:
            status, message = (
                (401, "Invalid username or password.") if account is None else (404, "Repository not found")
            )
            raise Refusal(status, message, "RepoNotFound")
        return repository

    def readable_files(self, name: str, request: Request) -> Repository:
        """A repository whose files the sender may have."""
        repository, account = self.readable(name, request), request.account
        if repository.gated:
            if account is None:
                message = f"Access to model {name} is restricted. You must have access to it and be authenticated."
                raise Refusal(401, message, "GatedRepo")
            if not account.owns(repository.namespace) and account.user not in repository.granted:
                message = f"Access to model {name} is restricted and you are not in the authorized list."
                raise Refusal(403, message, "GatedRepo")
        return repository

    def writable(self, name: str, request: Request, *, pull: bool = False) -> Repository:
        """A repository that the sender may write to; to a pull request (`pull`) everybody with a write token may."""
        repository, account = self.readable(name, request), request.account
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        if not account.write:
            raise Refusal(403, "Forbidden: your token is read-only; use a token with the role write")
        if not pull and not account.owns(repository.namespace):
            raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repository

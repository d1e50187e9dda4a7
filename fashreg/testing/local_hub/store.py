"""What the local Hub holds: repositories, their commits, branches and tags, and files as blobs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePosixPath

LARGE = 10 * 1024 * 1024
_ENDINGS = (
    ".7z .arrow .bin .bz2 .ckpt .gz .h5 .joblib .jpeg .jpg .model .msgpack .npy .npz .onnx .ot .parquet .pb .pickle "
    ".pkl .png .pt .pth .rar .safetensors .tar .tflite .tgz .webp .xz .zip .zst"
)
LARGE_ENDINGS = frozenset(_ENDINGS.split())
ATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in sorted(LARGE_ENDINGS)).encode()


def goes_to_storage(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file as a large file (LFS): by its ending, its size, or because it is binary."""
    return size > 0 and (PurePosixPath(path).suffix in LARGE_ENDINGS or size > LARGE or b"\0" in sample)


def git_oid(content: bytes) -> str:
    """The sha1 by which git knows a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Blob:
    """One file's content; `large` files (LFS) are a pointer in git and lie in the storage."""

    content: bytes
    large: bool = False

    @cached_property
    def sha256(self) -> str:
        """What the storage and LFS pointers call this content."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """The LFS pointer file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        """The git object id: of the pointer if the file is large."""
        return git_oid(self.pointer if self.large else self.content)

    @property
    def etag(self) -> str:
        """What a download of this file is labelled with."""
        return self.sha256 if self.large else self.oid


@dataclass(frozen=True)
class Commit:
    """One commit: the whole set of files, and where it came from."""

    id: str
    parent: str | None
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    date: datetime


class UnknownRevisionError(LookupError):
    """No branch, tag, pull request or commit of that name."""


class MovedBranchError(Exception):
    """The branch is no longer where the writer thinks it is."""


@dataclass
class Repository:
    """A model repository of the local Hub. Tests may read and change it beside the client.

    `private`: only its owner sees it. `gated`: everybody sees it, but only its owner and `granted` users get files.
    """

    name: str
    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[str, str] = field(default_factory=dict)
    history: dict[str, Commit] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        """Begin with the commit that the Hub itself makes."""
        if not self.branches:
            self.commit({".gitattributes": Blob(ATTRIBUTES)}, title="initial commit", author=self.namespace)

    @property
    def namespace(self) -> str:
        """The user or organization."""
        return self.name.partition("/")[0]

    @property
    def head(self) -> str:
        """The id of the newest commit of main."""
        return self.branches["main"]

    def resolve(self, revision: str = "main") -> Commit:
        """The commit that a branch, tag, pull request (refs/pr/1) or commit id names."""
        with self.lock:
            for refs in (self.branches, self.tags, self.pulls):
                if revision in refs:
                    return self.history[refs[revision]]
            short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
            if short != revision:
                return self.resolve(short)
            if len(revision) >= 7:
                for commit in self.history.values():
                    if commit.id.startswith(revision):
                        return commit
        raise UnknownRevisionError(revision)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Every file of a revision with its content."""
        return {path: blob.content for path, blob in self.resolve(revision).files.items()}

    def commits(self, revision: str = "main") -> list[Commit]:
        """The commits that lead to a revision, newest first."""
        return list(self._back(self.resolve(revision)))

    def _back(self, commit: Commit) -> Iterator[Commit]:
        yield commit
        while commit.parent is not None:
            commit = self.history[commit.parent]
            yield commit

    def put(
        self,
        files: Mapping[str, bytes | str | None],
        *,
        title: str = "put",
        revision: str = "main",
        large: bool | None = None,
    ) -> str:
        """Commit files without any client (None deletes one), under any name at all; the id of the commit.

        `large` keeps all of them in (True) or out of (False) the storage; None lets the Hub's rule decide.
        """
        add, delete = {}, set()
        for path, content in files.items():
            if content is None:
                delete.add(path)
                continue
            data = content.encode() if isinstance(content, str) else content
            stored = goes_to_storage(path, len(data), data[:512]) if large is None else large
            add[path] = Blob(data, stored)
        return self.commit(add, delete=delete, title=title, author=self.namespace, branch=revision).id

    def commit(
        self,
        add: Mapping[str, Blob],
        *,
        delete: Set[str] = frozenset(),
        title: str,
        message: str = "",
        author: str,
        branch: str = "main",
        parent: str | None = None,
        as_pull: bool = False,
    ) -> Commit:
        """One commit on a branch; with `as_pull` on a new pull request from it instead.

        Raises MovedBranchError if `parent` is given and the branch is elsewhere.
        """
        with self.lock:
            tip = self.resolve(branch) if self.branches else None
            if parent is not None and as_pull:
                tip = self.resolve(parent)
            elif parent is not None and (tip is None or not tip.id.startswith(parent)):
                raise MovedBranchError(branch)
            files = {path: blob for path, blob in (tip.files if tip else {}).items() if path not in delete}
            files.update(add)
            commit = self._made(tip, files, title, message, author)
            self.history[commit.id] = commit
            if as_pull:
                self.pulls[f"refs/pr/{len(self.pulls) + 1}"] = commit.id
            else:
                (self.pulls if branch in self.pulls else self.branches)[branch] = commit.id
            return commit

    def _made(self, tip: Commit | None, files: Mapping[str, Blob], title: str, message: str, author: str) -> Commit:
        date = datetime.now(UTC)
        words = [self.name, tip.id if tip else "", title, message, author, date.isoformat(), str(len(self.history))]
        words += [f"{path} {blob.oid}" for path, blob in sorted(files.items())]
        identity = hashlib.sha1("\n".join(words).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        return Commit(identity, tip.id if tip else None, dict(files), title, message, author, date)

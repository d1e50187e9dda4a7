"""One commit of a repository in the Hugging Face cache: its files, fetched when missing, held against two digests.

The client compares sizes only. Here every file is hashed each time it is asked for, and held against the record of
fashreg's manifest (sha256) and against what the Hub announced for it (sha256, or git's sha1 for small files). The cache
names its blobs by the latter, so that both are known without network too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashreg.errors import HubError, HubOfflineError
from fashreg.hub.client import ATTEMPTS, plain_text, translated, with_retries
from fashreg.hub.resume import LEAST, comes_by_xet, fetch_blob, forget_excess
from fashreg.manifest import FileRecord

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger("fashreg.hub")
_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]{0,199}", re.ASCII)
_SHA1, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Announced:
    """What the Hub says of a file before it is fetched. digest: sha256, git's sha1 of a blob, or something else."""

    commit: str
    bytes: int | None
    digest: str
    url: str
    by_xet: bool = False

    @property
    def sha256(self) -> str | None:
        """The sha256 of the content, where that is what the Hub announces (files in large file storage)."""
        return self.digest if _SHA256.fullmatch(self.digest) else None


class Snapshot:
    """A commit of a repository.

    cache: folder of the Hugging Face cache. offline: nothing is asked of the network. known: files that were announced.
    """

    def __init__(
        self,
        api: HfApi,
        repo: str,
        commit: str,
        *,
        cache: Path,
        offline: bool = False,
        known: Mapping[str, Announced] | None = None,
    ) -> None:
        self.api, self.repo, self.commit, self.cache, self.offline = api, repo, commit, cache, offline
        self._announced = dict(known or {})

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit[:12]}"

    def cached(self, name: str) -> Path | None:
        """The path of a file in the cache, if it is there."""
        return cached_file(self.repo, self.commit, name, self.cache)

    def announced(self, name: str) -> Announced:
        """Size and digest of a file, as the Hub says; HubError when the commit has no such file."""
        from huggingface_hub.errors import EntryNotFoundError

        if name not in self._announced:
            self._refuse_offline(name)
            with translated(self.repo, self.commit):
                try:
                    self._announced[name] = announced(self.api, self.repo, self.commit, name)
                except EntryNotFoundError as error:
                    raise HubError(
                        f"{self}: {name} is listed in manifest.json and is not there: it was deleted, or never pushed; "
                        "ask the owner to push again",
                        repo=self.repo,
                        revision=self.commit,
                        status=404,
                    ) from error
        return self._announced[name]

    def fetch(self, name: str, record: FileRecord | None) -> FileRecord:
        """Have a file in the cache, whole and unchanged; its size and sha256. record: what the manifest says of it.

        A file that is not what it should be is fetched once more; if it still is not, it is removed: HubError.
        """
        path = self.cached(name) or self._download(name)
        found, fault = self._examined(path, name, record)
        if fault and not self.offline:
            log.warning("%s: %s %s; fetched once more", self, name, fault)
            drop(path, self.cache)
            path = self._download(name)
            found, fault = self._examined(path, name, record)
            if fault:
                drop(path, self.cache)
        if fault:
            hint = "delete it, and fetch it with the network on" if self.offline else "fetched twice; try again later"
            raise HubError(f"{self}: {name} {fault}: {hint}", repo=self.repo, revision=self.commit)
        return found

    def remember(self, revision: str, any_file: str) -> None:
        """Note in the cache that a branch or tag is this commit. any_file: one that is cached. Best effort."""
        path = self.cached(any_file)
        if path is None:
            return
        ref = path.parents[any_file.count("/") + 2] / "refs" / revision
        fresh = ref.with_name(f".{ref.name}.{os.getpid()}")
        try:
            if ref.is_file() and ref.read_text(encoding="utf-8") == self.commit:
                return
            ref.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(self.commit, encoding="utf-8")
            os.replace(fresh, ref)
        except OSError as error:  # a cache that others may only read
            log.info("%s: the cache does not remember %s: %s", self, revision, error)

    def _download(self, name: str) -> Path:
        self._refuse_offline(name)
        said = self.announced(name)
        blob = self.cache / f"models--{self.repo.replace('/', '--')}" / "blobs" / said.digest

        def call() -> Any:
            forget_excess(blob, said.bytes)
            if said.sha256 and not said.by_xet and said.bytes is not None and said.bytes >= LEAST:
                fetch_blob(self.api, said.url, blob=blob, size=said.bytes)
            return self.api.hf_hub_download(self.repo, name, revision=self.commit, cache_dir=self.cache)

        with translated(self.repo, self.commit):
            return Path(with_retries(call))

    def _refuse_offline(self, name: str) -> None:
        if self.offline:
            raise HubOfflineError(
                f"{self} is not whole in the cache {self.cache} ({name} is missing) and the network is off: "
                "fetch it once with the network on",
                repo=self.repo,
                revision=self.commit,
            )

    def _examined(self, path: Path, name: str, record: FileRecord | None) -> tuple[FileRecord, str]:
        """What the file is, and what is wrong with it, if anything that fetching it again may mend."""
        digest = _blob_name(path) or (self._announced[name].digest if name in self._announced else "")
        found, sha1 = hashed(path, git=len(digest) == 40)
        known = {64: found.sha256, 40: sha1}.get(len(digest))
        if known is not None and known != digest:
            return found, "is damaged: its digest is not the one that the Hub announces"
        if record is None or found == record:
            return found, ""
        if known is None:
            return found, "is damaged: its sha256 is not the one in manifest.json"
        raise HubError(
            f"{self}: {name} is not the file that manifest.json lists, though it came whole: it was changed outside "
            "fashreg, or never pushed whole; ask the owner to push again",
            repo=self.repo,
            revision=self.commit,
        )


def announced(api: HfApi, repo: str, revision: str, name: str, *, attempts: int = ATTEMPTS) -> Announced:
    """What the Hub says of a file at a revision. Errors are the client's."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, name, revision=revision, endpoint=api.endpoint)
    said = with_retries(lambda: api.get_hf_file_metadata(url=url, token=api.token), attempts=attempts)
    if not said.commit_hash or not _SHA1.fullmatch(said.commit_hash):
        raise HubError(
            f"{url} answers without the commit it belongs to, so it is no Hub: does HF_ENDPOINT name a mirror that "
            "serves the Hub's X-Repo-Commit, or does a proxy take it away?",
            repo=repo,
            revision=revision,
        )
    digest = said.etag or ""
    if not _PLAIN.fullmatch(digest):  # the client makes it the name of a file
        raise HubError(f"{plain_text(ValueError(url))} answers with the ETag {said.etag!r}", repo=repo)
    return Announced(said.commit_hash, said.size, digest, url, comes_by_xet(said))


def cached_file(repo: str, revision: str, name: str, cache: Path) -> Path | None:
    """The path of a file in the cache, for a commit or for what a branch or tag last was; None when it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, cache_dir=cache, revision=revision)
    return Path(found) if isinstance(found, str) else None


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """The folder of the Hugging Face cache: as given, else HF_HUB_CACHE, else below HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser().resolve()


def drop(path: Path, cache: Path) -> None:
    """Remove a cached file: the entry of the snapshot, the blob it links to, and what that may link to in turn."""
    chain = [path]
    while chain[-1].is_symlink() and len(chain) < 5:
        chain.append(chain[-1].parent / os.readlink(chain[-1]))
    for link in reversed(chain):
        if Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(cache)):
            link.unlink(missing_ok=True)


def hashed(path: Path, *, git: bool = False) -> tuple[FileRecord, str]:
    """Size and sha256 of a file, and, if wanted, the sha1 that git gives it as a blob."""
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            sha256.update(chunk)
            if git:
                sha1.update(chunk)
        return FileRecord(file.tell(), sha256.hexdigest()), sha1.hexdigest() if git else ""


def _blob_name(path: Path) -> str:
    """What the Hub announced for a cached file: the name of the blob that its entry links to; "" where none does."""
    name = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
    return name if _SHA1.fullmatch(name) or _SHA256.fullmatch(name) else ""

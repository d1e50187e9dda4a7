"""What a repository holds at one commit: names, sizes and digests of its files, as the Hub lists them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fashreg.errors import HubError, ModelError
from fashreg.hub.address import Address
from fashreg.hub.client import Token, hub_api, plain_text, translated, with_retries
from fashreg.hub.parcel import Content
from fashreg.hub.snapshot import Snapshot
from fashreg.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LARGEST_TEXT = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Listed:
    """One file. sha256: of its content where the Hub keeps it as a large file; otherwise git's sha1 tells."""

    bytes: int
    sha256: str | None
    git_sha1: str

    def holds(self, content: Content) -> bool:
        """Whether the Hub has this very content."""
        if self.bytes != content.record.bytes:
            return False
        return self.git_sha1 == content.git_sha1 if self.sha256 is None else self.sha256 == content.record.sha256


def list_files(api: HfApi, repo: str, commit: str) -> dict[str, Listed]:
    """The files of a commit by path. Errors are the client's."""
    found: list[Any] = with_retries(lambda: list(api.list_repo_tree(repo, recursive=True, revision=commit)))
    files = {}
    for entry in found:
        if hasattr(entry, "blob_id"):  # folders have none
            lfs = entry.lfs
            files[entry.path] = Listed(entry.size, None if lfs is None else lfs.sha256, entry.blob_id)
    return files


def places_in(files: Collection[str]) -> list[str]:
    """Where in a repository there are fashreg folders: "" is the root."""
    return sorted(path[: -len(MANIFEST)].rstrip("/") for path in files if path.rpartition("/")[2] == MANIFEST)


def list_places(address: Address, token: Token = None) -> list[str]:
    """Where in a revision of a repository there are fashreg folders; HubError where it cannot be asked."""
    with translated(address.repo, address.revision):
        return places_in(list_files(hub_api(token), address.repo, address.revision or "main"))


def earlier_files(snapshot: Snapshot, files: dict[str, Listed], place: str, kind: str) -> set[str]:
    """Paths of the files that the manifest at a place lists there; none where there is no manifest.

    HubError for a manifest of another kind, and for one that cannot be read: what is fashreg's cannot be told then.
    """
    prefix = f"{place}/" if place else ""
    path = prefix + MANIFEST
    if path not in files:
        return set()
    try:
        if files[path].bytes > _LARGEST_TEXT:
            raise ModelError(f"it has {files[path].bytes:,} bytes")
        with translated(snapshot.repo, snapshot.commit):
            snapshot.fetch(path, None)
        found = snapshot.cached(path)
        assert found is not None, path
        listed = read_manifest(found.parent, kind=kind).files
    except ModelError as error:
        raise HubError(
            f"{path} of {snapshot} is not the manifest of a {kind} ({plain_text(error)}): push to another repository; "
            "or delete it on the Hub, and name files that are to be replaced: --include FILE",
            repo=snapshot.repo,
        ) from error
    others = tuple(f"{other}/" for other in places_in(files) if other and other != place)
    return {prefix + name for name in listed if not (prefix + name).startswith(others)} | {path}


def text_of(snapshot: Snapshot, files: dict[str, Listed], path: str) -> str | None:
    """The text of a small file, bytes that are no UTF-8 escaped; None where there is no such file."""
    if path not in files or files[path].bytes > _LARGEST_TEXT:
        return None
    snapshot.fetch(path, None)
    found = snapshot.cached(path)
    assert found is not None, path
    return found.read_bytes().decode("utf-8", "surrogateescape")

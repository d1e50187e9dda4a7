"""A fashreg folder from the Hub into the ordinary Hugging Face cache, checked before, while and after it comes.

In this order: the revision becomes a commit, once; the manifest; every listed name and size against what the Hub
announces; the small files; what the caller wants checked before weights come; the weights. Only then does the cache
remember that the branch is this commit: whoever is killed on the way, or goes offline, keeps the last whole one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fashreg.errors import HubError, HubOfflineError
from fashreg.hub.address import Address, is_commit, parse_address
from fashreg.hub.client import ATTEMPTS, Token, endpoint, hub_api, hub_error, is_offline, is_passing, translated
from fashreg.hub.origin import Origin
from fashreg.hub.snapshot import Snapshot, announced, cache_folder, cached_file, log
from fashreg.manifest import MANIFEST, FileRecord, Manifest, checked_name, read_manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
Check = Callable[[Path, Manifest], None]
_TEXTS = (".json", ".yaml", ".md")
_LARGEST_MANIFEST, _LARGEST_TEXT, _MOST_FILES = 4 * 2**20, 64 * 2**20, 10_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """A folder in the cache, not to be written to; its files may be links.

    revision: as asked for. commit: what it was. manifest: the files as they lie there, all of them verified.
    """

    folder: Path
    repo: str
    revision: str | None
    commit: str
    manifest: Manifest

    @property
    def origin(self) -> Origin:
        """Where it came from."""
        return Origin(self.repo, self.commit, self.revision or "main", endpoint())


def fetch(
    repo: str,
    revision: str | None = None,
    *,
    part: str = "",
    kind: str | None = None,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    check: Check | None = None,
    progress: bool = False,
) -> Fetched:
    """Have a whole, verified folder of a repository in the cache.

    repo: `user/name` or `user/name@REVISION`. part: a folder of the repository, "index" or "evaluation"; "" is the
    model at its root. kind: what its manifest must say; default: `kind_of(part)`. check: called with the folder and its
    manifest when all but the weights are there; raises to stop. What is in the cache needs no network: always
    so for a commit, and for branches and tags with local_files_only, with HF_HUB_OFFLINE, or when the Hub cannot be
    reached (then a warning is logged). Raises HubError, and ModelError for a manifest that is not one.
    """
    address = parse_address(repo, revision=revision)
    prefix = f"{checked_name(part, where='part')}/" if part else ""
    cache = cache_folder(cache_dir)
    offline = local_files_only or is_offline()
    with _bars(False):
        snapshot = _resolved(hub_api(token), address, prefix, cache, offline)
        folder, manifest = _listed(snapshot, prefix, kind or kind_of(part))
        names = _checked_names(snapshot, manifest, prefix)
        found = {name: _fetched(snapshot, manifest, prefix, name) for name in names if _is_text(name)}
    if check is not None:
        check(folder, Manifest(folder, manifest.kind, {**manifest.files, **found}))
    _check_space(snapshot, manifest, prefix)
    with _bars(progress):
        for name in names:
            if name not in found:
                found[name] = _fetched(snapshot, manifest, prefix, name)
    if not snapshot.offline and not is_commit(address.revision):
        snapshot.remember(_ref(address, prefix), prefix + MANIFEST)
    whole = {name: found[name] for name in names}
    return Fetched(folder, address.repo, address.revision, snapshot.commit, Manifest(folder, manifest.kind, whole))


def kind_of(part: str) -> str | None:
    """What a part must be by its name; None for a name that a person chose (a second index), whose manifest says it."""
    return {"": "model", "index": "index", "evaluation": "evaluation"}.get(part)


def _resolved(api: HfApi, address: Address, prefix: str, cache: Path, offline: bool) -> Snapshot:
    """The commit that is meant: asked of the Hub, or as the cache last knew it."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repo, revision, name = address.repo, address.revision or "main", prefix + MANIFEST
    known = cached_file(repo, revision if is_commit(revision) else _ref(address, prefix), name, cache)
    commit = "" if known is None else known.parents[name.count("/")].name
    if known is not None and (offline or is_commit(address.revision)):
        return Snapshot(api, repo, commit, cache=cache, offline=offline)
    if offline:
        raise HubOfflineError(
            f"{address} is not in the cache {cache}, and the network is off: fetch it once with the network on",
            repo=repo,
            revision=address.revision,
        )
    with translated(repo, address.revision):
        try:
            said = announced(api, repo, revision, name, attempts=ATTEMPTS if known is None else 2)
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError as error:
            what = (
                f"no folder {part}/ of fashreg" if (part := prefix[:-1]) else f"no {MANIFEST}: fashreg never pushed it"
            )
            raise HubError(f"{address} holds {what}", repo=repo, revision=address.revision, status=404) from error
        except Exception as error:
            if known is None or not is_passing(error):
                raise
            log.warning("%s: %s; taking %s from the cache", address, hub_error(error, repo), commit[:12])
            return Snapshot(api, repo, commit, cache=cache, offline=True)
    snapshot = Snapshot(api, repo, said.commit, cache=cache, known={name: said})
    if (said.bytes or 0) > _LARGEST_MANIFEST:
        raise HubError(f"{snapshot}: {name} has {said.bytes:,} bytes, which no manifest has", repo=repo)
    return snapshot


def _ref(address: Address, prefix: str) -> str:
    """Under which name the cache remembers the commit: each part has its own, so that none moves before it is whole."""
    revision = address.revision or "main"
    return f"fashreg/{prefix}{revision}" if prefix else revision


def _listed(snapshot: Snapshot, prefix: str, kind: str | None) -> tuple[Path, Manifest]:
    """The folder in the cache, and its manifest, of a sane length."""
    name = prefix + MANIFEST
    snapshot.fetch(name, None)
    path = snapshot.cached(name)
    assert path is not None, name
    manifest = read_manifest(path.parent, kind=kind)
    if len(manifest.files) > _MOST_FILES:
        raise HubError(
            f"{snapshot}: {name} lists {len(manifest.files):,} files, which no folder has", repo=snapshot.repo
        )
    for listed, record in manifest.files.items():
        if _is_text(listed) and record.bytes > _LARGEST_TEXT:
            raise HubError(f"{snapshot}: {listed} has {record.bytes:,} bytes, which no text has", repo=snapshot.repo)
    return path.parent, manifest


def _checked_names(snapshot: Snapshot, manifest: Manifest, prefix: str) -> list[str]:
    """The files to have: each is cached, or on the Hub with the size and (large ones) the sha256 of its record.

    The card alone may differ or be gone: people write into it on the website, and nothing reads it.
    """
    names = []
    for name, record in manifest.files.items():
        if name == CARD:
            names += _card_if_there(snapshot, prefix + name)
            continue
        names.append(name)
        if snapshot.cached(prefix + name) is not None:
            continue
        said = snapshot.announced(prefix + name)
        size = record.bytes if said.bytes is None else said.bytes
        if size != record.bytes or (said.sha256 or record.sha256) != record.sha256:
            raise HubError(
                f"{snapshot}: {prefix}{name} is not the file that {MANIFEST} lists ({size:,} bytes on the Hub, "
                f"{record.bytes:,} in the list): it was changed outside fashreg; ask the owner to push again",
                repo=snapshot.repo,
                revision=snapshot.commit,
            )
    return names


def _card_if_there(snapshot: Snapshot, path: str) -> list[str]:
    if snapshot.cached(path) is not None:
        return [CARD]
    try:
        size = snapshot.announced(path).bytes
    except HubError as error:
        if error.status == 404 or snapshot.offline:
            return []
        raise
    if (size or 0) > _LARGEST_TEXT:
        raise HubError(f"{snapshot}: {path} has {size:,} bytes, which no text has", repo=snapshot.repo)
    return [CARD]


def _check_space(snapshot: Snapshot, manifest: Manifest, prefix: str) -> None:
    """Room on the disk for what is still to come."""
    missing = sum(r.bytes for name, r in manifest.files.items() if snapshot.cached(prefix + name) is None)
    there = next((p for p in (snapshot.cache, *snapshot.cache.parents) if p.is_dir()), Path.cwd())
    if missing > (free := shutil.disk_usage(there).free):
        raise HubError(
            f"{snapshot} needs {missing:,} bytes more and {snapshot.cache} has {free:,} left: make room, or name "
            "another folder (HF_HUB_CACHE, cache_dir)",
            repo=snapshot.repo,
        )


def _fetched(snapshot: Snapshot, manifest: Manifest, prefix: str, name: str) -> FileRecord:
    return snapshot.fetch(prefix + name, None if name == CARD else manifest.files[name])


def _is_text(name: str) -> bool:
    return name.endswith(_TEXTS)


@contextlib.contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Within the block the client's progress bars are off, unless they are to be shown or the environment says so."""
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()

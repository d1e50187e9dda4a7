"""A fashreg folder from the Hub as a folder of one's own: whole or not at all, and it knows where it came from."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from fashreg.errors import HubError
from fashreg.hub.address import parse_address
from fashreg.hub.client import Token
from fashreg.hub.fetch import Check, fetch, kind_of
from fashreg.hub.origin import ORIGIN, write_origin
from fashreg.hub.snapshot import hashed
from fashreg.manifest import MANIFEST, write_folder_atomically


def pull(
    address: str,
    out: str | Path,
    *,
    part: str = "",
    kind: str | None = None,
    revision: str | None = None,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    check: Check | None = None,
    progress: bool = False,
) -> Path:
    """Fetch a folder of a repository and copy it to `out`, which is then a folder like one that was written here.

    The arguments are those of `fashreg.hub.fetch.fetch`. `origin.json` in the folder says where it came from. An `out`
    that holds anything but an older folder of the same kind is refused before anything is fetched (for a part whose
    name does not say its kind: before anything is written); killed on the way, `out` stays what it was. Returns it.
    """
    parse_address(address, revision=revision)
    how: dict[str, Any] = {"part": part, "token": token, "local_files_only": local_files_only, "cache_dir": cache_dir}
    get = partial(fetch, address, revision, **how, check=check, progress=progress)
    known = kind or kind_of(part) or get().manifest.kind  # what a chosen name is, its manifest says
    with write_folder_atomically(Path(out), kind=known) as fresh:
        found = get(kind=known)
        for name, record in found.manifest.files.items():
            if name in (ORIGIN, MANIFEST):
                continue
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found.folder / name, target)
            if hashed(target)[0] != record:
                raise HubError(f"{name} changed in the cache while it was copied: again", repo=found.repo)
        write_origin(fresh, found.origin)
    return Path(out)

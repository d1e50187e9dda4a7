"""A fashreg folder from the Hub as a folder of one's own: whole or not at all, and it knows where it came from."""

from __future__ import annotations

import shutil
from pathlib import Path

from fashreg.errors import HubError
from fashreg.hub.address import parse_address
from fashreg.hub.client import Token
from fashreg.hub.fetch import Check, fetch
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
    that holds anything but an older folder of the same kind is refused before anything is fetched; killed on the way,
    `out` stays what it was. Returns the folder.
    """
    parse_address(address, revision=revision)
    with write_folder_atomically(Path(out), kind=kind or part or "model") as fresh:
        found = fetch(
            address,
            revision,
            part=part,
            kind=kind,
            token=token,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            check=check,
            progress=progress,
        )
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

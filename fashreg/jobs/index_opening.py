"""An index from where a person says it is: a folder here, or the `index` of `user/name@revision` on the Hub."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from fashreg.errors import HubError, ModelError
from fashreg.hub.address import SCHEME, is_address, parse_address
from fashreg.indexes.folder import KIND, SavedIndex, load_index_folder
from fashreg.jobs.index_tasks import indexes_in

_MISSING = (401, 404)


def open_index(place: str | Path) -> SavedIndex:
    """What an index folder holds, or the index beside the model of a repository: fetched into the cache, and checked.

    An index on the Hub whose model is that of its own repository is asked with it as it was at the index's commit.
    """
    if not is_address(place):
        return load_index_folder(_one_index(Path(place)))
    from fashreg.hub.fetch import fetch

    address = parse_address(str(place))
    try:
        found = fetch(address.repo, address.revision, part=KIND, kind=KIND, progress=sys.stderr.isatty())
    except HubError as error:
        if error.status in _MISSING and not str(place).startswith(SCHEME):
            error.args = (f"there is no folder {place} here, and {error}",)
        raise
    saved = load_index_folder(found.folder)
    if saved.extra.get("model") != found.repo:
        return saved
    return replace(saved, extra={**saved.extra, "model": f"{SCHEME}{found.origin}"})


def own_folder(place: str | Path) -> Path:
    """An index folder that may be changed; ModelError for one on the Hub."""
    if is_address(place):
        raise ModelError(
            f"there is no folder {place} here, and an index on the Hub is not changed in place: fashreg pull {place} "
            "--part index --out FOLDER, change that, and push it"
        )
    return _one_index(Path(place))


def _one_index(folder: Path) -> Path:
    """The folder, unless it holds indexes of several tasks; then ModelError names them."""
    if inner := indexes_in(folder):
        names = ", ".join(path.name for path in inner[:20])
        raise ModelError(f"{folder} holds an index for each of several tasks: {names}; name one, e.g. {inner[0]}")
    return folder

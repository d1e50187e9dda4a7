"""An index from where a person says it is: a folder here, or `user/name@revision` on the Hub; one of several, too."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fashreg.encoder.questions import Question
from fashreg.errors import HubError, HubOfflineError, ModelError
from fashreg.hub.address import SCHEME, Address, is_address, parse_address
from fashreg.hub.fetch import Fetched, fetch
from fashreg.hub.listing import list_places
from fashreg.indexes.folder import ABOUT, KIND, SavedIndex, load_index_folder
from fashreg.jobs.index_choice import Candidate, candidate, chosen, of_task
from fashreg.jobs.index_tasks import folder_name, indexes_in
from fashreg.manifest import MANIFEST, Manifest

_MISSING = (401, 404)
_MOST_LOOKED_AT = 20  # indexes of a repository


def open_index(place: str | Path, task: str | None = None, question: Question | None = None) -> SavedIndex:
    """What an index folder holds, or an index in a repository: fetched into the cache, and checked.

    task: whose, where there are several; None is the only one, or the only one that is asked with such a question.
    ModelError names them otherwise. An index on the Hub whose model is that of its own repository is asked with it as
    it was at the index's commit.
    """
    if not is_address(place):
        return of_task(load_index_folder(_one_index(Path(place), task, question)), str(place), task)
    try:
        found = _fetched(parse_address(str(place)), task, question)
    except HubError as error:
        if error.status in _MISSING and not str(place).startswith(SCHEME):
            error.args = (f"there is no folder {place} here, and {error}",)
        raise
    saved = of_task(load_index_folder(found.folder), str(place), task)
    if saved.extra.get("model") != found.repo:
        return saved
    return replace(saved, extra={**saved.extra, "model": f"{SCHEME}{found.origin}"})


def own_folder(place: str | Path) -> Path:
    """An index folder that may be changed; ModelError for one on the Hub, and for a folder of several."""
    if is_address(place):
        raise ModelError(
            f"there is no folder {place} here, and an index on the Hub is not changed in place: fashreg pull {place} "
            "--part index --out FOLDER, change that, and push it"
        )
    if inner := indexes_in(Path(place)):
        raise ModelError(f"{place} holds {len(inner)} indexes, and one is to be changed: name it, e.g. {inner[0]}")
    return Path(place)


def _one_index(folder: Path, task: str | None, question: Question | None) -> Path:
    """The folder, or the index in it that is meant where it holds several; ModelError for a run."""
    if (folder / "model" / "config.json").is_file() and not (folder / MANIFEST).exists():
        raise ModelError(
            f"{folder} is a run folder, and no index: fashreg index build {folder / 'model'} --table TABLE --out FOLDER"
        )
    if not (inner := indexes_in(folder)):
        return folder
    several = [candidate(str(path), path / ABOUT) for path in inner]
    return Path(chosen(str(folder), several, task, question).place)


def _fetched(address: Address, task: str | None, question: Question | None) -> Fetched:
    """The index of a repository, at `index`; or the one that is meant of those at `index/NAME`."""
    get = partial(fetch, address.repo, address.revision, kind=KIND, progress=sys.stderr.isatty())
    try:
        return get(part=KIND if task is None else f"{KIND}/{folder_name(task)}")
    except HubOfflineError:
        if task is None:
            raise
        return get(part=KIND)  # nothing can be listed: what the cache has may be the one
    except HubError as error:
        if error.status != 404:
            raise
        places = [place for place in list_places(address) if place == KIND or place.startswith(f"{KIND}/")]
        if not places:
            raise
    few = len(places) <= _MOST_LOOKED_AT
    several = [_looked_at(get, place) if few else Candidate(place) for place in places]
    return get(part=chosen(str(address), several, task, question).place)


class _SeenError(Exception):
    """An index was looked at, and its vectors need not come."""


def _looked_at(get: Any, place: str) -> Candidate:
    """What the index at a place of a repository says of itself: its manifest and its small files come, checked."""
    seen: list[Candidate] = []

    def stop(folder: Path, manifest: Manifest) -> None:
        seen.append(candidate(place, manifest.path(ABOUT)))
        raise _SeenError

    with suppress(_SeenError):
        get(part=place, check=stop)
    return seen[0]

"""fashreg folders to the Hub, in one commit that names the commit it goes on from: all of it arrives, or nothing.

Nothing is uploaded before the folder was held against its manifest and the repository against what is to come. Files of
the repository that fashreg did not write are neither replaced nor deleted, and what people wrote into README.md stays.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashreg import __version__
from fashreg.errors import HubConflictError, HubError
from fashreg.hub.address import Address, parse_address
from fashreg.hub.branch import Branch, find_branch
from fashreg.hub.client import (
    Token,
    endpoint,
    hub_api,
    hub_error,
    is_unreachable,
    plain_text,
    status_of,
    translated,
    with_retries,
)
from fashreg.hub.fetch import CARD
from fashreg.hub.listing import Listed, earlier_files, list_files, places_in, text_of
from fashreg.hub.parcel import Content, Parcel, pack
from fashreg.hub.snapshot import Snapshot
from fashreg.own_paths import as_published
from fashreg.readme import merge_pushed, name_repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MOVED = (409, 412)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. commit: where the repository holds the folder now; url: its page, or the pull request's.

    written, deleted: paths in the repository; both empty where all of it was there already. older: places of other
    fashreg folders that were pushed with an earlier model than the one that is there now.
    """

    repo: str
    commit: str
    url: str
    written: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    older: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class _Change:
    """What the commit will do, and all that the repository must hold afterwards."""

    write: dict[str, Content]
    delete: tuple[str, ...]
    whole: dict[str, Content]
    older: tuple[str, ...]


def push(
    folder: str | Path,
    repo: str,
    *,
    part: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    token: Token = None,
    commit_message: str | None = None,
    commit_description: str | None = None,
    create_pr: bool = False,
    parent_commit: str | None = None,
    include: Iterable[str] = (),
    exist_ok: bool = True,
) -> Pushed:
    """Push a model, index, evaluation or run folder, or one of indexes, to `user/name`, which is made if need be.

    part: another place in the repository than the kind's own (the root, `index`, `evaluation`). private: of a
    repository that is made now; one that is there must be so already. revision: branch, made when it is not there.
    parent_commit: the branch must still be at it. create_pr: as a pull request. include: files that fashreg did not
    write, by name relative to the folder; they may also replace such files on the Hub. exist_ok: False refuses a
    repository that is there. Files that fashreg pushed earlier and that are no longer part of the folder are deleted.
    Raises ModelError for the folder, HubConflictError when somebody else pushed meanwhile, HubError for the rest; then
    the branch is what it was.
    """
    address, included = parse_address(repo, revision=revision), list(include)
    parcel = pack(Path(folder), part=part, include=included)
    api = hub_api(token)
    with translated(address.repo, address.revision):
        branch = find_branch(api, address, private=private, create_pr=create_pr, exist_ok=exist_ok)
        if parent_commit is not None and not branch.head.startswith(parent_commit):
            raise _conflict(address, parent_commit, branch.head)
        there = list_files(api, address.repo, branch.head)
        with tempfile.TemporaryDirectory() as desk:
            change = _change(parcel, Snapshot(api, address.repo, branch.head, cache=Path(desk)), there)
        if not change.write and not change.delete:
            url = f"{endpoint()}/{address.repo}/tree/{branch.head}"
            return Pushed(address.repo, branch.head, url, older=change.older)
        message = commit_message or f"{_named(parcel)}, pushed with fashreg {__version__}"
        said = {"commit_message": message, "commit_description": commit_description, "create_pr": create_pr}
        operations = _operations(change)
        if ".gitignore" in there:
            _refuse_ignored(api, address, branch, operations)
        commit, url = _commit(api, address, branch, change, operations, said)
        _check_arrived(change, list_files(api, address.repo, commit), f"{address.repo}@{commit[:12]}")
    return Pushed(address.repo, commit, url, tuple(sorted(change.write)), change.delete, change.older)


def _change(parcel: Parcel, snapshot: Snapshot, there: dict[str, Listed]) -> _Change:
    """What has to be written and deleted, after README.md was merged; HubError where that would hit a stranger's file.

    Strangers' files are those that no manifest lists; README.md is merged, .gitattributes is the Hub's.
    """
    earlier: set[str] = set()
    for part in parcel.parts:
        earlier |= earlier_files(snapshot, there, part.place, part.kind)
        for name in part.files:
            if (text := as_published(part.kind, name, partial(part.text_of, name), snapshot.repo)) is not None:
                part.replace_text(name, text)
        if CARD in part.files:
            here = name_repository(part.text_of(CARD), snapshot.repo)
            part.replace_text(CARD, merge_pushed(text_of(snapshot, there, part.at(CARD)), here))
    whole = parcel.contents()
    write = {path: content for path, content in whole.items() if path not in there or not there[path].holds(content)}
    cards = {part.at(CARD) for part in parcel.parts}
    strange = sorted(set(write) & set(there) - earlier - cards - parcel.asked)
    if strange:
        raise HubError(
            f"{snapshot} holds {', '.join(strange[:3])}{' and more' if len(strange) > 3 else ''}, which fashreg did "
            f"not write and this push would replace: push to another repository, or name it: --include {strange[0]}",
            repo=snapshot.repo,
        )
    places = {part.place for part in parcel.parts}
    renewed = "" in places and any(path.endswith(".safetensors") and "/" not in path for path in write)
    older = tuple(place for place in places_in(there) if place not in places) if renewed else ()
    return _Change(write, tuple(sorted((earlier & set(there)) - set(whole))), whole, older)


def _commit(
    api: HfApi, address: Address, branch: Branch, change: _Change, operations: list[Any], said: dict[str, Any]
) -> tuple[str, str]:
    """Make the one commit; its name and its page. One whose answer was lost on its way is looked for on the branch."""
    first = [operations]

    def send() -> Any:
        ready = first.pop() if first else _operations(change)  # older clients take no operation twice
        try:
            return api.create_commit(address.repo, ready, revision=branch.name, parent_commit=branch.head, **said)
        except json.JSONDecodeError as error:  # an error page: the client reads before it looks at the status
            unread = OSError("the Hub's answer cannot be read")
            raise hub_error(unread, address.repo, address.revision) if said["create_pr"] else unread from error
        except Exception as error:
            if said["create_pr"] and is_unreachable(error):  # it may be there already; a second one would be a nuisance
                raise hub_error(error, address.repo, address.revision) from error
            raise

    try:
        made = with_retries(send)
    except ValueError as error:
        raise HubError(
            f"{address.repo}: the Hub does not take this commit: {plain_text(error)}", repo=address.repo
        ) from error
    except Exception as error:
        if said["create_pr"] or not (status_of(error) in _MOVED or is_unreachable(error)):
            raise
        head = with_retries(lambda: str(api.model_info(address.repo, revision=branch.name).sha))
        if head == branch.head:
            raise
        if not _arrived(change, list_files(api, address.repo, head)):
            raise _conflict(address, branch.head, head) from error
        return head, f"{endpoint()}/{address.repo}/commit/{head}"
    return made.oid, made.pr_url or made.commit_url


def _operations(change: _Change) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    additions = [CommitOperationAdd(path, content.source) for path, content in change.write.items()]
    for addition in additions:  # the client has hashed the file again: it is still what was held against the manifest
        record = change.write[addition.path_in_repo].record
        if (addition.upload_info.size, addition.upload_info.sha256.hex()) != (record.bytes, record.sha256):
            raise HubError(f"{addition.path_in_repo} changed while it was pushed; nothing was written: again")
    return [*additions, *(CommitOperationDelete(path, is_folder=False) for path in change.delete)]


def _refuse_ignored(api: HfApi, address: Address, branch: Branch, operations: list[Any]) -> None:
    """HubError where a .gitignore in the repository would leave a file out of the commit without a word."""
    from huggingface_hub import CommitOperationAdd

    additions = [operation for operation in operations if isinstance(operation, CommitOperationAdd)]
    with_retries(lambda: api.preupload_lfs_files(address.repo, additions, revision=branch.name, free_memory=False))
    ignored = [a.path_in_repo for a in additions if getattr(a, "_should_ignore", False)]
    if ignored:
        raise HubError(
            f"the .gitignore of {address} leaves {', '.join(ignored[:3])} out: change it on the Hub, then push again",
            repo=address.repo,
        )


def _arrived(change: _Change, there: dict[str, Listed]) -> bool:
    return not _missing(change, there)


def _missing(change: _Change, there: dict[str, Listed]) -> list[str]:
    wrong = [path for path, content in change.whole.items() if path not in there or not there[path].holds(content)]
    return sorted(wrong + [path for path in change.delete if path in there])


def _check_arrived(change: _Change, there: dict[str, Listed], where: str) -> None:
    if wrong := _missing(change, there):
        raise HubError(f"{where} does not hold what was pushed ({', '.join(wrong[:3])}): push again")


def _conflict(address: Address, meant: str, found: str) -> HubConflictError:
    return HubConflictError(
        f"{address} is at {found[:12]} now, and this push goes on from {meant[:12]}: somebody else pushed meanwhile. "
        f"Nothing was written; look at it (fashreg versions {address.repo}), then push again",
        repo=address.repo,
        revision=address.revision,
        status=412,
    )


def _named(parcel: Parcel) -> str:
    return " and ".join(dict.fromkeys(part.kind for part in parcel.parts)).capitalize()

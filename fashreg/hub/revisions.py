"""What a repository was and is: its commits with their tags; tags are made and deleted here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fashreg.errors import HubError
from fashreg.hub.address import parse_address
from fashreg.hub.client import Token, hub_api, status_of, translated, with_retries

_TAG = re.compile(r"(?!.*(\.\.|//))[A-Za-z0-9_][\w./+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """One commit. tags: their names; branches: those whose newest commit it is."""

    commit: str
    date: datetime
    title: str
    tags: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()


def versions(repo: str, *, revision: str | None = None, token: Token = None) -> list[Version]:
    """The commits of `user/name[@REV]`, newest first, with what is tagged. HubError where there is no such thing."""
    address = parse_address(repo, revision=revision)
    api = hub_api(token)
    with translated(address.repo, address.revision):
        commits = with_retries(lambda: api.list_repo_commits(address.repo, revision=address.revision))
        refs = with_retries(lambda: api.list_repo_refs(address.repo))

    def named(kind: Iterable[Any], commit: str) -> tuple[str, ...]:
        return tuple(sorted(_line(str(ref.name)) for ref in kind if ref.target_commit == commit))

    return [
        Version(id_, c.created_at, _line(c.title), named(refs.tags, id_), named(refs.branches, id_))
        for c in commits
        for id_ in (c.commit_id,)
    ]


def create_tag(
    repo: str, tag: str, *, revision: str | None = None, message: str | None = None, token: Token = None
) -> str:
    """Tag what a branch, tag or commit (default: main) of a repository is now; the commit. A tag is never moved."""
    address = parse_address(repo, revision=revision)
    name = _checked_tag(address.repo, tag)
    api = hub_api(token)
    with translated(address.repo, address.revision):
        commit = str(with_retries(lambda: api.model_info(address.repo, revision=address.revision)).sha)
        try:
            with_retries(lambda: api.create_tag(address.repo, tag=name, revision=commit, tag_message=message))
        except Exception as error:
            if status_of(error) != 409:
                raise
            refs = with_retries(lambda: api.list_repo_refs(address.repo))
            at = next((str(ref.target_commit) for ref in refs.tags if ref.name == name), "")
            if at != commit:
                raise HubError(
                    f"{address.repo} has a tag {name!r} already, at {at[:12] or 'another commit'}; choose another "
                    f"name, or delete it first: fashreg tag {address.repo} {name} --delete",
                    repo=address.repo,
                    revision=name,
                    status=409,
                ) from error
    return commit


def delete_tag(repo: str, tag: str, *, token: Token = None) -> None:
    """Delete a tag of a repository; what it named stays. HubError where there is none of that name."""
    address = parse_address(repo)
    if address.revision is not None:
        raise HubError(f"{repo}: a tag is deleted by its name alone: give {address.repo}", repo=address.repo)
    api = hub_api(token)
    with translated(address.repo, tag):
        refs = with_retries(lambda: api.list_repo_refs(address.repo))
        known = sorted(str(ref.name) for ref in refs.tags)
        if tag not in known:
            raise HubError(
                f"{address.repo} has no tag {tag!r}; its tags: {', '.join(known) or 'none'}",
                repo=address.repo,
                revision=tag,
                status=404,
            )
        with_retries(lambda: api.delete_tag(address.repo, tag=tag))


def _checked_tag(repo: str, tag: str) -> str:
    looks_like_a_commit = len(tag) >= 7 and not set(tag) - set("0123456789abcdef")
    wrong = not _TAG.fullmatch(tag) or tag.endswith(("/", ".", ".lock")) or len(tag) > 100
    if wrong or looks_like_a_commit or tag in ("main", "HEAD") or tag.startswith("refs/"):
        raise HubError(f"{tag!r} cannot be the name of a tag; one that can: v1", repo=repo, revision=tag)
    return tag


def _line(text: str) -> str:
    """A text of the Hub on one line, of what can be printed, and not without end."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= 200 else f"{plain[:200]}..."

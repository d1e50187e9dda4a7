"""What a person types for a model on the Hub: `user/name`, `user/name@REVISION`; `hf://` before it says so outright.

A local folder always wins: `runs/model` is looked for on the Hub only where there is neither a folder `runs/model` nor
a folder `runs` in which it could have been meant.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from fashreg.errors import HubError

SCHEME = "hf://"
_ALIKE = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@.*)?", re.ASCII)
_REVISION = re.compile(r"(?!.*(\.\.|//|@\{))[\w][\w./+=,@-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Address:
    """A repository and, if one was asked for, a revision of it: branch, tag or commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def is_address(text: object) -> bool:
    """Whether a person who typed this means the Hub: it looks like `user/name[@REV]` and is no place on this disk."""
    if not isinstance(text, str):
        return False
    if text.startswith(SCHEME):
        return True
    if not _ALIKE.fullmatch(text) or os.path.lexists(text):
        return False
    name, _, revision = text.partition("@")
    return not os.path.lexists(name) and not os.path.isdir(os.path.dirname(name)) and "\\" not in revision


def hub_hint(path: object) -> str:
    """What to add to "there is no folder PATH" where the Hub may have been meant."""
    text = str(path)
    return f"; for the Hub's {text} write {SCHEME}{text}" if _ALIKE.fullmatch(text) else ""


def parse_address(text: str, *, revision: str | None = None) -> Address:
    """The address that a text spells. revision: a revision given beside it, for a text that holds none.

    Raises HubError for a name that the Hub does not allow, and for two revisions that differ.
    """
    repo, at, found = text.removeprefix(SCHEME).partition("@")
    if at and not found:
        raise HubError(f"{text!r} ends in @: write user/name, or user/name@REVISION", repo=repo)
    if found and revision is not None and revision != found:
        raise HubError(f"{text!r} asks for {found} and revision says {revision}; give one of them", repo=repo)
    return Address(checked_repo(repo), checked_revision(repo, found or revision))


def checked_repo(repo: str) -> str:
    """`repo` if it is a name `user/name` by the Hub's own rules; HubError otherwise."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise HubError(f"{repo!r} is no name of a repository: {error}", repo=str(repo)) from None
    if "/" not in repo:
        raise HubError(f"{repo!r} is no name of a repository: whose is it? Write USER/{repo}", repo=repo)
    return repo


def checked_revision(repo: str, revision: str | None) -> str | None:
    """`revision` if it can be a branch, tag or commit of git, and a name below a folder; HubError otherwise."""
    if revision is None:
        return None
    if not _REVISION.fullmatch(revision) or revision.endswith(("/", ".", ".lock")) or len(revision) > 200:
        raise HubError(f"{revision!r} is no branch, tag or commit of {repo}", repo=repo, revision=revision)
    return revision


def is_commit(revision: str | None) -> bool:
    """Whether this is a whole commit hash, which names the same content for ever."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None

"""The branch that a push goes to: found, or made together with its repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fashreg.errors import HubError
from fashreg.hub.address import Address
from fashreg.hub.client import endpoint, with_retries

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PULL_REQUESTS = "refs/pr/"


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch (or a pull request, refs/pr/N) and the commit that it is at."""

    name: str
    head: str


def find_branch(
    api: HfApi, address: Address, *, private: bool | None, create_pr: bool = False, exist_ok: bool = True
) -> Branch:
    """The branch that an address means (main by default), made with its repository where there is none.

    private: None takes a repository as it is; otherwise it must be so. Errors are the client's, and HubError.
    """
    repo, name = address.repo, address.revision or "main"
    if create_pr and name != "main":
        raise HubError(f"a pull request goes to main: leave out revision {name!r}, or create_pr", repo=repo)
    info = _repository(api, repo, private, may_make=not create_pr, exist_ok=exist_ok)
    if name == "main":
        return Branch(name, str(info.sha))
    if name.startswith(_PULL_REQUESTS):
        return Branch(name, str(with_retries(lambda: api.model_info(repo, revision=name)).sha))
    return Branch(name, _head_of(api, repo, name))


def _repository(api: HfApi, repo: str, private: bool | None, *, may_make: bool, exist_ok: bool) -> Any:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = with_retries(lambda: api.model_info(repo))
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        if not may_make:
            raise
        with_retries(lambda: api.create_repo(repo, private=private, exist_ok=True))
        return with_retries(lambda: api.model_info(repo))
    if not exist_ok:
        raise HubError(f"{endpoint()}/{repo} is there already; give another name, or exist_ok=True", repo=repo)
    if private is not None and bool(info.private) != private:
        is_, asked = ("private", "public") if info.private else ("public", "private")
        raise HubError(
            f"{repo} is {is_} and was asked to be {asked}; nothing was pushed: change that in its settings on "
            f"{endpoint()}/{repo}/settings, or push without asking",
            repo=repo,
        )
    return info


def _head_of(api: HfApi, repo: str, name: str) -> str:
    """The commit of a branch, which is made from main where there is none of that name."""
    refs = with_retries(lambda: api.list_repo_refs(repo))
    if any(ref.name == name for ref in refs.tags) or _looks_like_a_commit(name):
        raise HubError(
            f"{name!r} is a tag or a commit, which never change; push to a branch, then tag it: "
            f"fashreg tag {repo} TAG --revision BRANCH",
            repo=repo,
            revision=name,
        )
    heads = {ref.name: str(ref.target_commit) for ref in refs.branches}
    if name not in heads:
        with_retries(lambda: api.create_branch(repo, branch=name, exist_ok=True))
        heads[name] = str(with_retries(lambda: api.model_info(repo, revision=name)).sha)
    return heads[name]


def _looks_like_a_commit(name: str) -> bool:
    return len(name) >= 7 and not set(name) - set("0123456789abcdef")

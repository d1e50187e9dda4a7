"""The Hub's answers about repositories: whoami, create, info, trees, commits, branches, tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fashreg.testing.local_hub.answers import Answer, Refusal, Request, as_json
from fashreg.testing.local_hub.store import Blob, Commit, Repository, UnknownRevisionError

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import LocalHub


def whoami(hub: LocalHub, request: Request) -> Answer:
    """Who the token belongs to."""
    account = request.account
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    role = "write" if account.write else "read"
    organizations = [{"type": "org", "name": name} for name in account.organizations]
    token = {"type": "access_token", "accessToken": {"displayName": "local", "role": role}}
    return as_json({"type": "user", "name": account.user, "orgs": organizations, "auth": token})


def create(hub: LocalHub, request: Request) -> Answer:
    """A new repository."""
    asked = request.json()
    if request.account is None:
        raise Refusal(401, "Invalid username or password.")
    namespace = asked.get("organization") or request.account.user
    name = f"{namespace}/{asked['name']}"
    if asked.get("type", "model") != "model":
        raise Refusal(400, "The local Hub holds models only")
    if not request.account.write or not request.account.owns(namespace):
        message = f'You don\'t have the rights to create a model under the namespace "{namespace}"'
        raise Refusal(403, message)
    url = f"{hub.endpoint}/{name}"
    if hub.has(name):
        refusal = Refusal(409, "You already created this model repo")
        refusal.answer.content = as_json({"error": str(refusal), "url": url}).content
        raise refusal
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.create(name, private=private)
    return as_json({"url": url, "name": name, "id": name})


def delete(hub: LocalHub, request: Request) -> Answer:
    """One repository less."""
    asked = request.json()
    namespace = asked.get("organization") or (request.account.user if request.account else "")
    hub.drop(hub.writable(f"{namespace}/{asked['name']}", request).name)
    return Answer()


def settings(hub: LocalHub, request: Request, repo: str) -> Answer:
    """Private or public, gated or not."""
    repository, asked = hub.writable(repo, request), request.json()
    if "private" in asked or "visibility" in asked:
        repository.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    if "gated" in asked:
        repository.gated = bool(asked["gated"])
    return as_json({"private": repository.private, "gated": repository.gated})


def may_read(hub: LocalHub, request: Request, repo: str) -> Answer:
    """Whether the files may be read: the client's auth_check."""
    hub.readable_files(repo, request)
    return Answer()


def at(repository: Repository, revision: str) -> Commit:
    """The commit of a revision, or the Hub's refusal."""
    try:
        return repository.resolve(revision)
    except UnknownRevisionError:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def info(hub: LocalHub, request: Request, repo: str, revision: str = "main") -> Answer:
    """What the Hub says of a repository at a revision."""
    repository = hub.readable(repo, request)
    commit = at(repository, revision)
    with_sizes = request.asked("blobs").lower() in {"true", "1"}
    siblings = []
    for path, blob in sorted(commit.files.items()):
        sibling: dict[str, Any] = {"rfilename": path}
        if with_sizes:
            sibling |= {"size": len(blob.content), "blobId": blob.oid}
            if blob.large:
                sibling["lfs"] = {
                    "sha256": blob.sha256,
                    "size": len(blob.content),
                    "pointerSize": len(blob.pointer),
                }
        siblings.append(sibling)
    first = repository.commits()[-1]
    facts = {"id": repo, "modelId": repo, "author": repository.namespace, "sha": commit.id}
    dates = {"lastModified": stamp(commit.date), "createdAt": stamp(first.date)}
    state = {"private": repository.private, "gated": "auto" if repository.gated else False, "disabled": False}
    return as_json({**facts, **dates, **state, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings})


def stamp(date: datetime) -> str:
    """A date as the Hub writes it."""
    return date.strftime("%Y-%m-%dT%H:%M:%S.") + f"{date.microsecond // 1000:03d}Z"


def entry(hub: LocalHub, path: str, blob: Blob, commit: Commit | None) -> dict[str, Any]:
    """One file of a tree."""
    told: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": len(blob.content), "path": path}
    if blob.large:
        told["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
        if hub.xet:
            told["xetHash"] = blob.sha256
    if commit is not None:
        told["lastCommit"] = {"id": commit.id, "title": commit.title, "date": stamp(commit.date)}
    return told


def folders(paths: Iterable[str]) -> set[str]:
    """Every folder that holds one of the files."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")[:-1]
        found.update("/".join(parts[: n + 1]) for n in range(len(parts)))
    return found


def listing(hub: LocalHub, commit: Commit, folder: str, *, deep: bool, expand: bool) -> Iterator[dict[str, Any]]:
    """The entries of a folder of a commit, folders first."""
    prefix = f"{folder}/" if folder else ""
    last = commit if expand else None
    for path in sorted(folders(commit.files)):
        if path.startswith(prefix) and (deep or "/" not in path.removeprefix(prefix)):
            yield {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
    for path, blob in sorted(commit.files.items()):
        if path.startswith(prefix) and (deep or "/" not in path.removeprefix(prefix)):
            yield entry(hub, path, blob, last)


def tree(hub: LocalHub, request: Request, repo: str, revision: str, folder: str = "") -> Answer:
    """The files and folders of a revision, page by page."""
    commit = at(hub.readable(repo, request), revision)
    if folder and folder not in folders(commit.files):
        raise Refusal(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    yes = {"true", "1"}
    deep, expand = request.asked("recursive").lower() in yes, request.asked("expand").lower() in yes
    return page(hub, request, list(listing(hub, commit, folder, deep=deep, expand=expand)))


def page(hub: LocalHub, request: Request, entries: list[dict[str, Any]]) -> Answer:
    """One page of a list, with a link to the next."""
    begin = int(request.asked("cursor", "0"))
    end = begin + hub.page_size
    answer = as_json(entries[begin:end], X_Total_Count=str(len(entries)))
    if end < len(entries):
        rest = "&".join(part for part in request.query.split("&") if part and not part.startswith("cursor="))
        link = f"{hub.endpoint}{quote(request.path)}?{rest}&cursor={end}"
        answer.headers["Link"] = f'<{link}>; rel="next"'
    return answer


def paths_info(hub: LocalHub, request: Request, repo: str, revision: str) -> Answer:
    """What is known of the paths that are asked for; unknown ones are left out."""
    commit = at(hub.readable(repo, request), revision)
    last = commit if request.form("expand", "false").lower() == "true" else None
    there = folders(commit.files)
    told: list[dict[str, Any]] = []
    for path in request.form_list("paths"):
        if path in commit.files:
            told.append(entry(hub, path, commit.files[path], last))
        elif path in there:
            told.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
    return as_json(told)


def commits(hub: LocalHub, request: Request, repo: str, revision: str) -> Answer:
    """The commits of a revision, newest first, page by page."""
    repository = hub.readable(repo, request)
    told = [
        {
            "id": commit.id,
            "title": commit.title,
            "message": commit.message,
            "date": stamp(commit.date),
            "authors": [{"user": commit.author}],
        }
        for commit in repository.commits(at(repository, revision).id)
    ]
    return page(hub, request, told)


def refs(hub: LocalHub, request: Request, repo: str) -> Answer:
    """Branches, tags and pull requests."""
    repository = hub.readable(repo, request)

    def told(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"{kind}{n}", "targetCommit": c} for n, c in sorted(names.items())]

    branches, tags = told("refs/heads/", repository.branches), told("refs/tags/", repository.tags)
    pulls = {"pullRequests": told("", repository.pulls)} if request.asked("include_prs") else {}
    return as_json({"branches": branches, "tags": tags, "converts": [], **pulls})


def add_branch(hub: LocalHub, request: Request, repo: str, name: str) -> Answer:
    """A new branch."""
    repository = hub.writable(repo, request)
    if name in repository.branches:
        raise Refusal(409, f"Reference already exists: refs/heads/{name}")
    repository.branches[name] = at(repository, request.json().get("startingPoint") or "main").id
    return Answer()


def delete_branch(hub: LocalHub, request: Request, repo: str, name: str) -> Answer:
    """A branch less; main stays."""
    repository = hub.writable(repo, request)
    if name == "main" or repository.branches.pop(name, None) is None:
        raise Refusal(403 if name == "main" else 404, f"Cannot delete branch {name}", "RevisionNotFound")
    return Answer()


def add_tag(hub: LocalHub, request: Request, repo: str, revision: str) -> Answer:
    """A new tag on a revision."""
    repository, name = hub.writable(repo, request), request.json().get("tag")
    if not name:
        raise Refusal(400, "A tag needs a name")
    if name in repository.tags:
        raise Refusal(409, f"Reference already exists: refs/tags/{name}")
    repository.tags[name] = at(repository, revision).id
    return Answer()


def delete_tag(hub: LocalHub, request: Request, repo: str, name: str) -> Answer:
    """A tag less."""
    if hub.writable(repo, request).tags.pop(name, None) is None:
        raise Refusal(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return Answer()

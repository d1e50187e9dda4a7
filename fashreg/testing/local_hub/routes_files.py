"""The Hub's answers about content: downloads, the storage of large files, and commits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fashreg.testing.local_hub.answers import Answer, Refusal, Request, as_json
from fashreg.testing.local_hub.routes_repository import at
from fashreg.testing.local_hub.store import Blob, Commit, MovedBranchError, Repository, goes_to_storage

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import LocalHub


def signed(hub: LocalHub, path: str) -> str:
    """The address of something in the storage, usable without a token."""
    return f"{hub.storage}{quote(path)}?X-Signature={signature(hub, path)}"


def signature(hub: LocalHub, path: str) -> str:
    """What makes an address of the storage good."""
    return hmac.new(hub.secret, path.encode(), hashlib.sha256).hexdigest()


def resolve(hub: LocalHub, request: Request, repo: str, revision: str, path: str) -> Answer:
    """A file: from git at once, from the storage by a redirect."""
    repository = hub.readable_files(repo, request)
    commit = at(repository, revision)
    blob = commit.files.get(path)
    if blob is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.id)
    headers = {"X-Repo-Commit": commit.id, "Accept-Ranges": "bytes", "ETag": f'"{blob.etag}"'}
    if hub.redirecting and not blob.large and "/resolve-cache/" not in request.path:
        headers["Location"] = quote(f"/api/resolve-cache/models/{repo}/{commit.id}/{path}")
        return Answer(307, headers | {"X-Linked-Size": str(len(blob.content))}, b"Temporary Redirect")
    if not blob.large:
        headers["Content-Type"] = "text/plain; charset=utf-8"
        return Answer(200, headers, blob.content, ranged=True)
    hub.objects[blob.sha256] = blob.content
    headers |= {"X-Linked-Size": str(len(blob.content)), "X-Linked-Etag": f'"{blob.sha256}"'}
    if hub.xet:
        route = f"{hub.endpoint}/api/models/{repo}/xet-read-token/{commit.id}"
        headers |= {"X-Xet-Hash": blob.sha256, "X-Xet-Refresh-Route": route}
    headers["Location"] = signed(hub, f"/storage/{repo}/{blob.sha256}/{path}")
    return Answer(302, headers, f"Found. Redirecting to {headers['Location']}".encode())


def stored(hub: LocalHub, request: Request, repo: str, oid: str, path: str) -> Answer:
    """A large file from the storage."""
    _trusted(hub, request)
    content = hub.objects.get(oid)
    if content is None:
        raise Refusal(404, "The specified key does not exist.")
    return Answer(200, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}, content, ranged=True)


def _trusted(hub: LocalHub, request: Request) -> None:
    """The storage takes signed addresses only, and refuses tokens: they are none of its business."""
    if request.authorized:
        raise Refusal(400, "Only one auth mechanism allowed; the Authorization header must not be sent here")
    if not hmac.compare_digest(request.asked("X-Signature"), signature(hub, request.path)):
        raise Refusal(403, "SignatureDoesNotMatch")


def preupload(hub: LocalHub, request: Request, repo: str, revision: str) -> Answer:
    """Which files go to the storage, and what is there under their names already."""
    repository = hub.writable(repo, request, pull=bool(request.asked("create_pr")))
    there = at(repository, revision).files
    told = []
    for asked in request.json()["files"]:
        path = asked["path"]
        large = goes_to_storage(path, asked["size"], base64.b64decode(asked["sample"]))
        answer: dict[str, Any] = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path in there:
            answer["oid"] = there[path].etag
        told.append(answer)
    return as_json({"files": told})


def lfs_batch(hub: LocalHub, request: Request, repo: str) -> Answer:
    """Where large files are to be uploaded; those that are there already need nothing."""
    hub.writable(repo, request, pull=True)
    told = []
    for asked in request.json()["objects"]:
        oid, size = asked["oid"], asked["size"]
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if oid not in hub.objects:
            answer["actions"] = {
                "upload": _upload(hub, repo, oid, size),
                "verify": {"href": f"{hub.endpoint}/{repo}.git/info/lfs/objects/verify"},
            }
        told.append(answer)
    return as_json({"transfer": "basic", "objects": told})


def _upload(hub: LocalHub, repo: str, oid: str, size: int) -> dict[str, Any]:
    """Where to send one large file: whole, or in parts that are put together afterwards."""
    if size <= hub.part_size:
        return {"href": signed(hub, f"/upload/{repo}/{oid}"), "header": {}}
    count = -(-size // hub.part_size)
    parts = {str(n): signed(hub, f"/upload/{repo}/{oid}/part/{n}") for n in range(1, count + 1)}
    return {"href": f"{hub.endpoint}/{repo}/complete/{oid}", "header": {"chunk_size": str(hub.part_size), **parts}}


def upload(hub: LocalHub, request: Request, repo: str, oid: str, part: str = "") -> Answer:
    """A large file, or a part of one, arrives in the storage; nobody has seen yet whether it is right."""
    _trusted(hub, request)
    hub.arrived[oid, int(part or 0)] = request.body
    return Answer(200, {"ETag": f'"{hashlib.md5(request.body, usedforsecurity=False).hexdigest()}"'})


def complete(hub: LocalHub, request: Request, repo: str, oid: str) -> Answer:
    """The parts of a large file are put together."""
    numbers = [part["partNumber"] for part in request.json()["parts"]]
    if any((oid, n) not in hub.arrived for n in numbers):
        raise Refusal(400, "A part of the file has not been uploaded")
    hub.arrived[oid, 0] = b"".join(hub.arrived.pop((oid, n)) for n in numbers)
    return as_json({"success": True})


def verify(hub: LocalHub, request: Request, repo: str) -> Answer:
    """What arrived is compared with what was promised; only then it can be committed."""
    hub.writable(repo, request, pull=True)
    asked = request.json()
    oid = asked["oid"]
    content = hub.arrived.pop((oid, 0), None)
    if content is None and oid not in hub.objects:
        raise Refusal(404, "Object was not uploaded")
    if content is not None:
        if len(content) != asked["size"] or hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(422, "Uploaded object does not match its size and sha256")
        hub.objects[oid] = content
    return Answer()


def commit(hub: LocalHub, request: Request, repo: str, revision: str) -> Answer:
    """One commit: every line of the body is an operation, all happen or none."""
    as_pull = bool(request.asked("create_pr"))
    repository = hub.writable(repo, request, pull=as_pull)
    tip = at(repository, revision)
    if not as_pull and revision not in repository.branches and revision not in repository.pulls:
        raise Refusal(400, f"Commits go to a branch; {revision} is none")
    add: dict[str, Blob] = {}
    delete: set[str] = set()
    header: Mapping[str, str] = {}
    for line in request.body.splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            header = value
        elif key in {"file", "lfsFile"}:
            add[_checked(value["path"])] = _content(hub, key, value)
        else:
            delete |= _deleted(tip, key, value["path"])
    if not header.get("summary"):
        raise Refusal(400, "A commit needs a summary")
    return _written(hub, request, repository, revision, add, delete, header, as_pull)


def _checked(path: str) -> str:
    """A name that git and the Hub take."""
    parts = path.split("/")
    if not path or "\\" in path or any(part in {"", ".", "..", ".git"} for part in parts):
        raise Refusal(400, f"Invalid path in repo: {path!r}")
    return path


def _content(hub: LocalHub, key: str, value: Mapping[str, str]) -> Blob:
    """The content of an operation that adds a file."""
    if key == "lfsFile":
        if value["oid"] not in hub.objects:
            raise Refusal(400, f"LFS pointer of {value['path']} points to a file that does not exist: {value['oid']}")
        return Blob(hub.objects[value["oid"]], large=True)
    if value.get("encoding") != "base64":
        return Blob(value["content"].encode())
    try:
        return Blob(base64.b64decode(value["content"], validate=True))
    except binascii.Error:
        raise Refusal(400, f"Content of {value['path']} is not base64") from None


def _deleted(tip: Commit, key: str, path: str) -> set[str]:
    """The files that an operation deletes."""
    folder = path.rstrip("/") + "/"
    gone = {p for p in tip.files if p.startswith(folder)} if key == "deletedFolder" else {path} & set(tip.files)
    if not gone:
        raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    return gone


def _written(
    hub: LocalHub,
    request: Request,
    repository: Repository,
    revision: str,
    add: Mapping[str, Blob],
    delete: set[str],
    header: Mapping[str, str],
    as_pull: bool,
) -> Answer:
    assert request.account is not None
    try:
        made = repository.commit(
            add,
            delete=delete,
            title=header["summary"],
            message=header.get("description", ""),
            author=request.account.user,
            branch=revision,
            parent=header.get("parentCommit"),
            as_pull=as_pull,
        )
    except MovedBranchError:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.") from None
    url = f"{hub.endpoint}/{repository.name}/commit/{made.id}"
    told: dict[str, Any] = {"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""}
    if as_pull:
        told["pullRequestUrl"] = f"{hub.endpoint}/{repository.name}/discussions/{len(repository.pulls)}"
    return as_json(told)

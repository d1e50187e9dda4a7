"""Which address of the Hub is answered by what."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fashreg.testing.local_hub import routes_files as files
from fashreg.testing.local_hub import routes_repository as repositories
from fashreg.testing.local_hub.answers import Answer, Refusal, Request, as_json

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import LocalHub

Route = Callable[..., Answer]
REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"
MODEL = rf"/api/models/{REPO}"


def check_card(hub: LocalHub, request: Request) -> Answer:
    """The head of a README: it must be closed; what is in it, the local Hub does not judge."""
    content = request.json()["content"]
    if not content.startswith("---\n"):
        return as_json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    if "\n---" not in content[3:]:
        return as_json({"errors": [{"message": "the metadata block is not closed"}], "warnings": []}, status=400)
    return as_json({"errors": [], "warnings": []})


def no_xet(hub: LocalHub, request: Request, **_: str) -> Answer:
    """The local Hub speaks HTTP and LFS only."""
    raise Refusal(501, "The local Hub has no Xet storage: set HF_HUB_DISABLE_XET=1 before huggingface_hub is imported")


HUB: list[tuple[str, str, Route]] = [
    ("GET", "/api/whoami-v2", repositories.whoami),
    ("POST", "/api/validate-yaml", check_card),
    ("POST", "/api/repos/create", repositories.create),
    ("DELETE", "/api/repos/delete", repositories.delete),
    ("GET", rf"{MODEL}", repositories.info),
    ("PUT", rf"{MODEL}/settings", repositories.settings),
    ("GET", rf"{MODEL}/auth-check", repositories.may_read),
    ("GET", rf"{MODEL}/revision/{REVISION}", repositories.info),
    ("GET", rf"{MODEL}/tree/{REVISION}(/(?P<folder>.+))?", repositories.tree),
    ("POST", rf"{MODEL}/paths-info/{REVISION}", repositories.paths_info),
    ("GET", rf"{MODEL}/commits/{REVISION}", repositories.commits),
    ("GET", rf"{MODEL}/refs", repositories.refs),
    ("POST", rf"{MODEL}/branch/(?P<name>[^/]+)", repositories.add_branch),
    ("DELETE", rf"{MODEL}/branch/(?P<name>[^/]+)", repositories.delete_branch),
    ("POST", rf"{MODEL}/tag/{REVISION}", repositories.add_tag),
    ("DELETE", rf"{MODEL}/tag/(?P<name>[^/]+)", repositories.delete_tag),
    ("POST", rf"{MODEL}/preupload/{REVISION}", files.preupload),
    ("POST", rf"{MODEL}/commit/{REVISION}", files.commit),
    ("GET", rf"{MODEL}/xet-(read|write)-token/.+", no_xet),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", files.lfs_batch),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", files.verify),
    ("POST", rf"/{REPO}/complete/(?P<oid>[^/]+)", files.complete),
    ("GET", rf"/{REPO}/resolve/{REVISION}/(?P<path>.+)", files.resolve),
    ("GET", rf"/api/resolve-cache/models/{REPO}/{REVISION}/(?P<path>.+)", files.resolve),
]
STORAGE: list[tuple[str, str, Route]] = [
    ("GET", rf"/storage/{REPO}/(?P<oid>[^/]+)/(?P<path>.+)", files.stored),
    ("PUT", rf"/upload/{REPO}/(?P<oid>[^/]+)(/part/(?P<part>\d+))?", files.upload),
]
TABLE = {
    side: [(method, re.compile(pattern), route) for method, pattern, route in rows]
    for side, rows in (("hub", HUB), ("storage", STORAGE))
}


def answered(hub: LocalHub, request: Request, quoted: str) -> Answer:
    """The answer to a request; `quoted` is the path as it was sent, where %2F is part of a name."""
    method = "GET" if request.method == "HEAD" else request.method
    try:
        for wanted, pattern, route in TABLE[request.side]:
            match = pattern.fullmatch(quoted) if wanted == method else None
            if match:
                named = {name: unquote(text) for name, text in match.groupdict().items() if text is not None}
                return route(hub, request, **named)
        raise Refusal(404, "Sorry, we can't find the page you are looking for.")
    except Refusal as refusal:
        return refusal.answer

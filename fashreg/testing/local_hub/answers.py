"""A request as the routes see it, and the answers they give; refusals in the Hub's own form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True)
class Account:
    """Whom a token belongs to, and whether it may write."""

    user: str
    write: bool = True
    organizations: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        """Whether repositories of this user or organization are theirs."""
        return namespace == self.user or namespace in self.organizations


@dataclass(frozen=True)
class Request:
    """One request. `side` is the server that it reached: the "hub" or the "storage" of large files."""

    side: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    account: Account | None = None

    @property
    def authorized(self) -> bool:
        """Whether a token came along."""
        return "authorization" in self.headers

    def asked(self, name: str, default: str = "") -> str:
        """A value of the query string."""
        return parse_qs(self.query).get(name, [default])[-1]

    def form(self, name: str, default: str = "") -> str:
        """A value of a form in the body."""
        return (self.form_list(name) or [default])[-1]

    def form_list(self, name: str) -> list[str]:
        """All values of a name of a form in the body."""
        return parse_qs(self.body.decode()).get(name, [])

    def json(self) -> Any:
        """The body as JSON; a refusal if it is none."""
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal(400, "Invalid JSON in the request body") from None


@dataclass
class Answer:
    """What is sent back. `ranged` content may be asked for in part, as files are.

    Faults: `cut` ends the connection after so many bytes of the content, `silent` before any answer; `pace` (bytes,
    seconds) rests after every so many bytes.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    ranged: bool = False
    cut: int | None = None
    silent: bool = False
    pace: tuple[int, float] | None = None


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of the server
    """The request is refused, in the Hub's form: status, X-Error-Code, X-Error-Message and a JSON body."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        named = {"X-Error-Message": message, **headers}
        if code:
            named["X-Error-Code"] = code
        self.answer = as_json({"error": message}, status=status)
        self.answer.headers.update({name.replace("_", "-"): value for name, value in named.items()})


def as_json(value: object, *, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **named}, json.dumps(value).encode())

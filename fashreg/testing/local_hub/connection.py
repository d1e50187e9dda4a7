"""HTTP itself: reading requests, sending answers whole or in ranges, and cutting connections when a fault wants it."""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fashreg.testing.local_hub.answers import Answer, Refusal, Request
from fashreg.testing.local_hub.routes import answered

if TYPE_CHECKING:
    from fashreg.testing.local_hub.server import _Server

BLOCK = 64 * 1024


class Connection(BaseHTTPRequestHandler):
    """One connection of a client, kept open from request to request."""

    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Remember the socket, so that closing the server cuts it."""
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        """Forget it."""
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """The record of requests is `LocalHub.requests`; nothing is printed."""

    def _serve(self) -> None:
        hub, quoted, query = self.server.hub, *self._split()
        headers = {name.lower(): value for name, value in self.headers.items()}
        head = Request(self.server.side, self.command, unquote(quoted), query, headers)
        limit = hub.faults.upload_limit(head)
        body, whole = self._body(headers, limit)
        if not whole:  # cut by a fault, or the client is gone: half a request is none
            hub.requests.append((head, 0))
            return self._cut()
        answer = hub.faults.before(head)
        if answer is None:
            answer = hub.faults.after(head, self._answered(replace(head, body=body), quoted))
        hub.requests.append((head, answer.status))
        return self._send(answer, headers.get("range"))

    def _answered(self, request: Request, quoted: str) -> Answer:
        """The honest answer."""
        hub = self.server.hub
        try:
            account = hub.account(request.headers.get("authorization")) if request.side == "hub" else None
            return answered(hub, replace(request, account=account), quoted)
        except Refusal as refusal:
            return refusal.answer
        except Exception as error:
            hub.failures.append(error)
            return Refusal(500, f"The local Hub itself failed: {error!r}").answer

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the standard library's names

    def _split(self) -> tuple[str, str]:
        path, _, query = self.path.partition("?")
        return path, query

    def _body(self, headers: dict[str, str], limit: int | None) -> tuple[bytes, bool]:
        """What the client sends, up to `limit` bytes, and whether that is all of it."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(limit)
        length = int(headers.get("content-length", 0))
        body = self.rfile.read(length if limit is None else min(limit, length))
        return body, limit is None and len(body) == length

    def _chunks(self, limit: int | None) -> tuple[bytes, bool]:
        """A body that is sent in chunks; the last of them is empty."""
        body = bytearray()
        while line := self.rfile.readline():
            size = int(line.split(b";")[0], 16)
            body += self.rfile.read(size)
            if limit is not None and len(body) >= limit:
                return bytes(body[:limit]), False
            ended = self.rfile.readline() == b"\r\n"
            if size == 0:
                return bytes(body), ended
        return bytes(body), False

    def _send(self, answer: Answer, wanted: str | None) -> None:
        if answer.silent:
            return self._cut()
        if answer.ranged and wanted and answer.status == 200:
            answer = _part(answer, wanted)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        content = answer.content[: answer.cut]
        block, rest = answer.pace or (BLOCK, 0.0)
        for begin in range(0, len(content), block):
            self.wfile.write(content[begin : begin + block])
            if rest:
                time.sleep(rest)
        return None if answer.cut is None else self._cut(gently=True)

    def _cut(self, *, gently: bool = False) -> None:
        """End the connection at once: what was sent still arrives (`gently`), or not even that."""
        self.close_connection = True
        self.wfile.flush()
        if gently:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _part(answer: Answer, wanted: str) -> Answer:
    """The range of a file that is asked for: `bytes=a-b`, `bytes=a-` or `bytes=-n`."""
    size = len(answer.content)
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
    if match is None or match.groups() == ("", ""):
        return answer
    first, last = match.groups()
    begin = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if begin >= min(end, size):
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    headers = {**answer.headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}"}
    return replace(answer, status=206, headers=headers, content=answer.content[begin:end])

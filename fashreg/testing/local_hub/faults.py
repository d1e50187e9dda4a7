"""Faults to order: dropped connections, refusals for a while, slowness, flipped bytes, wrong sizes, redirects away.

    hub.faults.add(Status(503), "*/resolve/*/config.json", times=2)
    hub.faults.add(Drop(after=1000), "*/model.safetensors")

A fault waits for requests whose path matches; it strikes `times` times (None: for ever) after `skip` matching ones.
Files in the storage have paths that end in the file's name too, so `*/model.safetensors` meets them on both servers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar

from fashreg.testing.local_hub.answers import Answer, Refusal, Request


@dataclass(frozen=True)
class Status:
    """Answer with this status: before anything is done, or with `done` after it was done (the good answer is lost)."""

    code: int = 503
    retry_after: str | None = None
    done: bool = False
    methods: ClassVar[str] = "*"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The refusal."""
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return Refusal(self.code, f"Fault on order: {self.code}", **headers).answer


@dataclass(frozen=True)
class Drop:
    """Cut the connection: `after` bytes of the content (None: with no answer at all).

    With no answer, the request was not carried out; with `done` it was.
    """

    after: int | None = None
    done: bool = False
    methods: ClassVar[str] = "*"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The answer, marked to be cut."""
        return replace(answer, cut=self.after, silent=self.after is None)


@dataclass(frozen=True)
class DropUpload:
    """Cut the connection when `after` bytes of what the client sends have been read."""

    after: int = 0
    methods: ClassVar[str] = "P*"


@dataclass(frozen=True)
class Slow:
    """Wait `seconds` before answering, when the request has been carried out; or after `every` so many bytes."""

    seconds: float = 1.0
    every: int | None = None
    methods: ClassVar[str] = "*"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The same answer, later."""
        if self.every is None:
            time.sleep(self.seconds)
            return answer
        return replace(answer, pace=(self.every, self.seconds))


@dataclass(frozen=True)
class Flip:
    """Flip one bit of a file's byte `at` (negative: from the end)."""

    at: int = -1
    methods: ClassVar[str] = "GET"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The file with one wrong bit."""
        content = bytearray(answer.content)
        content[self.at] ^= 1
        return replace(answer, content=bytes(content))


@dataclass(frozen=True)
class WrongSize:
    """Send a file with `by` bytes more (or fewer), labelled consistently."""

    by: int = 1
    methods: ClassVar[str] = "GET"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The file, longer or shorter."""
        content = answer.content + b"x" * self.by if self.by >= 0 else answer.content[: self.by]
        return replace(answer, content=content)


@dataclass(frozen=True)
class Redirect:
    """Send the client elsewhere; all other headers stay as they were."""

    to: str
    code: int = 302
    methods: ClassVar[str] = "*"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The redirect."""
        return replace(answer, status=self.code, headers={**answer.headers, "Location": self.to}, content=b"")


@dataclass(frozen=True)
class Edit:
    """Any other lie: `how` gets the honest answer and returns the one that is sent."""

    how: Callable[[Answer], Answer]
    methods: ClassVar[str] = "*"

    def change(self, request: Request, answer: Answer) -> Answer:
        """The edited answer."""
        return self.how(replace(answer, headers=dict(answer.headers)))


Fault = Status | Drop | DropUpload | Slow | Flip | WrongSize | Redirect | Edit


@dataclass
class Order:
    """One ordered fault and how often it has struck."""

    fault: Fault
    path: str
    methods: str
    times: int | None
    skip: int
    struck: int = 0

    def meets(self, request: Request) -> bool:
        """Whether the fault is for this request."""
        open_still = self.times is None or self.struck < self.times
        return open_still and fnmatchcase(request.method, self.methods) and fnmatchcase(request.path, self.path)


@dataclass
class Faults:
    """The faults that are on order."""

    orders: list[Order] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(
        self, fault: Fault, path: str = "*", *, times: int | None = 1, method: str | None = None, skip: int = 0
    ) -> Order:
        """Order a fault for the paths that match a glob; the order says afterwards how often it `struck`."""
        order = Order(fault, path, method or fault.methods, times, skip)
        with self.lock:
            self.orders.append(order)
        return order

    def clear(self) -> None:
        """No more faults."""
        with self.lock:
            self.orders.clear()

    def before(self, request: Request) -> Answer | None:
        """The answer of a fault that strikes before anything is done."""
        for order in self._meeting(request):
            if isinstance(order.fault, Status | Drop) and _at_once(order.fault) and self._strike(order):
                return order.fault.change(request, Answer())
        return None

    def after(self, request: Request, answer: Answer) -> Answer:
        """The answer as the faults have left it."""
        for order in self._meeting(request):
            fault = order.fault
            if not isinstance(fault, DropUpload) and _applies(fault, request, answer) and self._strike(order):
                answer = fault.change(request, answer)
        return answer

    def upload_limit(self, request: Request) -> int | None:
        """After how many bytes of an upload the connection is cut."""
        for order in self._meeting(request):
            if isinstance(order.fault, DropUpload) and self._strike(order):
                return order.fault.after
        return None

    def _meeting(self, request: Request) -> list[Order]:
        with self.lock:
            return [order for order in self.orders if order.meets(request)]

    def _strike(self, order: Order) -> bool:
        with self.lock:
            if order.skip > 0:
                order.skip -= 1
                return False
            if order.times is not None and order.struck >= order.times:
                return False
            order.struck += 1
            return True


def _at_once(fault: Status | Drop) -> bool:
    """Whether the fault comes instead of what was asked for."""
    return not fault.done and (isinstance(fault, Status) or fault.after is None)


def _applies(fault: Fault, request: Request, answer: Answer) -> bool:
    """Whether a fault can do anything to this answer."""
    match fault:
        case Flip() | WrongSize():
            return answer.status == 200 and bool(answer.content)
        case Drop(after=int(after)):
            return request.method != "HEAD" and len(answer.content) > after
        case Status() | Drop():
            return fault.done
        case _:
            return True

"""What the fixture `fashreg` of every test is: the command line in this process, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Result(NamedTuple):
    """What a command left: its status, and what it said."""

    status: int
    out: str
    err: str


Fashreg = Callable[..., Result]

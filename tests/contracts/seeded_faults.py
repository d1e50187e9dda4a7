"""Run a contract suite by hand on a deliberately wrong component and say which of its tests notice."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any


def failing_tests(contract: type, fixture: str, make: Callable[[], Any]) -> set[str]:
    """Names of the contract's tests that raise when `fixture` is what `make` gives (a new one for every run)."""
    failed = set()
    for name, test in inspect.getmembers(contract, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        for arguments in _arguments_of(test):
            if fails(test, contract(), **{fixture: make()}, **arguments):
                failed.add(name)
    return failed


def fails(test: Callable[..., Any], *given: Any, **named: Any) -> bool:
    """Whether a test fails, in whatever way: an interruption goes on, everything else that is raised is a failure."""
    try:
        test(*given, **named)
    except Exception:  # a fault may break the component anywhere
        return True
    except BaseException as error:  # pytest's own outcomes ("DID NOT RAISE") are no Exceptions
        if type(error).__name__ != "Failed":
            raise
        return True
    return False


def _arguments_of(test: Any) -> Iterator[dict[str, Any]]:
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    if not marks:
        yield {}
        return
    (mark,) = marks
    name, values = mark.args
    for value in values:
        yield {name: value}

"""Markdown from values that may hold anything: tables, bullets, and texts that stay texts."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fashreg.own_paths import public

Rows = list[tuple[str, str]]

_MOST, _ROWS, _DEPTH = 500, 100, 3
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they reorder what stands around them
_MARKS = str.maketrans({"<": "&lt;", "[": "\\[", "]": "\\]", "`": "'", "*": "\\*", "\\": "\\\\"})


def said(text: str) -> str:
    """A text on one line that Markdown shows as it is: no HTML, links, code, or control characters."""
    shown = "".join(
        c for c in text if c.isspace() or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNING)
    )
    plain = " ".join(shown.split())
    return (plain if len(plain) <= _MOST else plain[: _MOST - 1] + "…").translate(_MARKS)


def cell(text: str) -> str:
    """A text within a table."""
    return said(text).replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bullets(points: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {point}" for point in points)


def recorded(tree: Mapping[str, Any]) -> Rows:
    """Name and value of what is plain in a tree, components on one line, at most 100; both are Markdown already."""
    rows: Rows = []
    for name, value in itertools.islice(_leaves(tree, "", _DEPTH), _ROWS):
        rows.append((cell(name), cell(spec(value))))
    return rows


def _leaves(tree: Mapping[str, Any], place: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping) and "name" not in value:
            if depth > 0:
                yield from _leaves(value, name, depth - 1)
        elif isinstance(value, Mapping | str | int | float) and value != "":
            yield name, value


def spec(value: Any) -> str:
    """A component with its options: `multi-similarity (alpha 2, base 0.5)`."""
    if not isinstance(value, Mapping):
        return plain(value)
    options = value.get("config") if isinstance(value.get("config"), Mapping) else value
    given = [f"{k} {plain(v)}" for k, v in (options or {}).items() if k not in ("name", "plugin", "version")]
    joined = ", ".join(given)
    origin = f", {value['plugin']} {value.get('version', '')}".rstrip() if value.get("plugin") else ""
    return f"{value.get('name')}{f' ({joined})' if given else ''}{origin}"


def plain(value: Any) -> str:
    """A value in a few characters; of an absolute path its last part."""
    if isinstance(value, float):
        return f"{value:g}"
    return public(re.sub(r"\s+", " ", str(_shallow(value, _DEPTH))))


def _shallow(value: Any, depth: int) -> Any:
    """The value without what lies deeper than `depth` containers."""
    if isinstance(value, Mapping):
        return {key: _shallow(inner, depth - 1) for key, inner in value.items()} if depth else "…"
    if isinstance(value, list | tuple):
        return [_shallow(inner, depth - 1) for inner in value] if depth else "…"
    return public(value) if isinstance(value, str) else value

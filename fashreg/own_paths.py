"""Folders of this machine, and how they are left out of what other people get to see. Pure text; no torch.

Local folders say where pictures, tables and models lie, because reports and searches open them. On another machine
those places mean nothing, and they tell the names of people and customers: a push leaves them at home.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from fashreg.errors import ModelError
from fashreg.strict_json import json_text, parse_json
from fashreg.strict_yaml import read_yaml

_ABSOLUTE = re.compile(r"(/|~[^/\\]*[/\\]|[A-Za-z]:[\\/]|\\\\)")


def public(text: str) -> str:
    """A text; of an absolute path only its last part."""
    if not _ABSOLUTE.match(text):
        return text
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1]


def without_folders(tree: Any) -> Any:
    """Plain data in which every absolute path is only its last part."""
    if isinstance(tree, Mapping):
        return {key: without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [without_folders(value) for value in tree]
    return public(tree) if isinstance(tree, str) else tree


def as_published(kind: str, name: str, text: Callable[[], str], repo: str) -> str | None:
    """What a file of a folder of that kind says on the Hub, None where that is what it says here.

    text: reads it. repo: where it goes; an index of a model that lies on this machine names it as its model, so that
    whoever pulls the index has the model, too (its fingerprint is checked there).
    """
    change = _CHANGES.get((kind, name))
    if change is None:
        return None
    before = text()
    try:
        after = change(before, repo)
    except (ValueError, RecursionError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{name} cannot be read: {error}") from error
    return None if after == before else after


def _recipe(text: str, repo: str) -> str:
    before = read_yaml(text)
    after = without_folders(before)
    return text if after == before else str(yaml.safe_dump(after, sort_keys=False, allow_unicode=True))


def _config(text: str, repo: str) -> str:
    content = parse_json(text.encode("utf-8"))
    return _json(text, {key: without_folders(v) if key == "provenance" else v for key, v in content.items()}, content)


def _about_evaluation(text: str, repo: str) -> str:
    content = parse_json(text.encode("utf-8"))
    protocol = content["protocol"]
    return _json(text, {**content, "protocol": {**protocol, "source": public(protocol.get("source", ""))}}, content)


def _about_index(text: str, repo: str) -> str:
    content = parse_json(text.encode("utf-8"))
    extra = without_folders(content["extra"])
    if isinstance(model := content["extra"].get("model"), str) and _is_place(model):
        extra["model"] = repo
    return _json(text, {**content, "extra": extra}, content)


_PICTURES = ("image", "target")  # what an item may name: its picture, and the one that it asks for


def _items(text: str, repo: str) -> str:
    """Pictures, and what lies beside them, by their path from the folder that all pictures are in."""
    rows = [parse_json(line.encode("utf-8")) for line in text.splitlines()]
    named = [row[name] for row in rows for name in _PICTURES if isinstance(row.get(name), str)]
    start = _common([path for path in named if _ABSOLUTE.match(path)])
    lines = []
    for row in rows:
        after = {key: _below(value, start) for key, value in row.items()}
        after |= {name: public(after[name]) for name in _PICTURES if isinstance(after.get(name), str)}
        lines.append(json.dumps(after, ensure_ascii=False, allow_nan=False) + "\n")
    return "".join(lines)


def _below(value: Any, start: str) -> Any:
    """The rest of a path that starts so; anything else as it is."""
    if not isinstance(value, str) or not start or not value.startswith(start):
        return value
    return value[len(start) :].replace("\\", "/")


def _common(paths: list[str]) -> str:
    """The folder that all of these are in, with its separator; "" where there is none, or only that of homes."""
    try:
        found = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:  # none at all, or on several drives
        return ""
    home = os.path.expanduser("~")
    if os.path.dirname(found) == found or found in {"/home", "/Users", home, os.path.dirname(home)}:
        return ""
    return found + os.sep


def _is_place(text: str) -> bool:
    return _ABSOLUTE.match(text) is not None or os.path.lexists(text)


def _json(text: str, after: dict[str, Any], before: dict[str, Any]) -> str:
    return text if after == before else json_text(after)


_CHANGES: dict[tuple[str, str], Callable[[str, str], str]] = {
    ("model", "config.json"): _config,
    ("model", "recipe.yaml"): _recipe,
    ("evaluation", "evaluation.json"): _about_evaluation,
    ("evaluation", "items.jsonl"): _items,
    ("index", "index.json"): _about_index,
    ("index", "items.jsonl"): _items,
}

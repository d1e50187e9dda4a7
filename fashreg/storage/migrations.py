"""config.json of earlier formats, brought to the present one in memory; folders are never changed by being read.

Each step takes the plain data of one format to the next. Stored folders of every format are kept in tests/formats and
read by the tests for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fashreg.errors import ModelError
from fashreg.formats import newer_format_hint

NAME = "fashreg-model"
Plain = dict[str, Any]


def migrated(content: Any, *, where: str) -> Plain:
    """The content in the present format. where: what the message calls the file.

    Raises ModelError for what has no format of ours, for a later one with what to type, and for fields that its format
    does not have.
    """
    found = content.get("format") if isinstance(content, dict) else None
    if found not in _FORMATS:
        hint = newer_format_hint(found, LATEST, content.get("fashreg") if isinstance(content, dict) else None)
        shown = repr(found)[:80]
        raise ModelError(f"{where} has the format {shown}, this version reads {' and '.join(_FORMATS)}{hint}")
    for step in _STEPS[_FORMATS.index(found) :]:
        content = step(dict(content), where)
    return dict(content)


def _from_1(content: Plain, where: str) -> Plain:
    """Format 1 (fashreg 0.1): without licence and without base."""
    return _with_new(content, {"licence": None, "base": None}, where)


def _with_new(content: Plain, fields: Plain, where: str) -> Plain:
    if strange := sorted(set(fields) & set(content)):
        raise ModelError(f"{where} cannot be used: {strange[0]}: the format {content['format']} has no such field")
    number = int(content["format"].partition("/")[2]) + 1
    return {**content, **fields, "format": f"{NAME}/{number}"}


_STEPS: tuple[Callable[[Plain, str], Plain], ...] = (_from_1,)
_FORMATS = [f"{NAME}/{number}" for number in range(1, len(_STEPS) + 2)]
LATEST = _FORMATS[-1]

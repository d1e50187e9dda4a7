"""Formats are written `NAME/NUMBER`; what was written by a later fashreg is refused with a line to type. No torch."""

from __future__ import annotations

import re

_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){1,3}")


def newer_format_hint(found: object, known: str, by: object = "") -> str:
    """What to type where `found` is a later format than `known` of the same name, "" where it is not.

    by: the version of fashreg that wrote it, as the file says; anything that is no plain version is not repeated.
    """
    name, _, number = str(found).partition("/")
    mine, _, last = known.partition("/")
    if name != mine or not re.fullmatch("[0-9]{1,9}", number) or int(number) <= int(last):
        return ""
    needed = f"'fashreg>={by}'" if isinstance(by, str) and _VERSION.fullmatch(by) else "fashreg"
    return f"; it was written by a newer fashreg: pip install --upgrade {needed}"

"""What `--help` shows, in words of the field: one clause for each command, capitals for what is to be typed."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any

_TYPED = {str: "TEXT", Path: "PATH", int: "N", float: "X"}
_SET = "FIELD=VALUE"
_WIDE = 120


def help_for(command: Any) -> Any:
    """The command (typer's or click's) with the commands below it, made ready for their help."""
    command.context_settings = {**(command.context_settings or {}), "max_content_width": _WIDE}
    for below in getattr(command, "commands", {}).values():
        help_for(below)
    command.short_help = first_clause(command.help or "")
    hints = {} if command.callback is None else typing.get_type_hints(command.callback, include_extras=False)
    for param in command.params:
        if param.metavar is None:
            param.metavar = _metavar(param, hints.get(param.name))
    return command


def first_clause(text: str) -> str:
    """What stands before the first colon, semicolon or full stop; a question with its mark."""
    return re.split(r"(?<=\?)\s|[:;.](?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def _metavar(param: Any, hint: Any) -> str | None:
    """What stands for the value; None leaves it to typer: choices, and options that take none."""
    if param.param_type_name == "argument":
        return str(param.name).upper()
    if "--set" in param.opts:
        return _SET
    return None if getattr(param, "is_flag", False) else _TYPED.get(_one_of(hint))


def _one_of(hint: Any) -> Any:
    """str of `list[str] | None`, and so on."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is list else hint

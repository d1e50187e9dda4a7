"""JSON files read strictly: UTF-8, of sane size, no key twice, no NaN; a mistake names the file. No torch."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError

_MAX_BYTES = 16 * 2**20


def read_json(path: Path, *, max_bytes: int = _MAX_BYTES) -> Any:
    """The content of a JSON file; ModelError naming it when it is missing, too large, or not strict JSON.

    Strict: UTF-8, no key twice in an object, no NaN or Infinity.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
        if len(raw) > max_bytes:
            raise ModelError(f"{path} is larger than {max_bytes:,} bytes, which no file of its kind is")
        return parse_json(raw)
    except FileNotFoundError:
        raise ModelError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} cannot be read: {error}") from error


def parse_json(raw: bytes) -> Any:
    """Strict JSON of bytes; ValueError (or RecursionError) for anything else."""
    text = raw.decode("utf-8")
    return json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_finite, parse_float=_finite)


def write_json(path: Path, content: Any) -> None:
    """Write strict, readable JSON that `read_json` takes back; the file appears whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(json_text(content), encoding="utf-8", newline="\n")
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def json_text(content: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return content


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a number that JSON can hold")
    return number

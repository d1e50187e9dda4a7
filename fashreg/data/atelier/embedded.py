"""The drawn set as a table source: "atelier:products=300,views=4,seed=0", drawn once into the cache folder.

"atelier-edits:products=300,..." is the table of its edits: a picture, a wish as text, and the picture that it asks for.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from fashreg.data.atelier.drawing import draw_atelier
from fashreg.data.cache_folder import cache_folder
from fashreg.errors import DataError

_EDITION = 1  # counts up when the same arguments draw other pixels
_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(draw_atelier).parameters.items()
    if isinstance(parameter.default, int)
}


def embedded_table(source: str) -> Path:
    """The table of a set named "atelier:name=number,...", drawn now unless the cache folder has it whole; or, of one
    named "atelier-edits:...", the table of its edits.
    """
    numbers = parsed(source)
    name = "-".join(f"{key}{value}" for key, value in numbers.items())
    folder = cache_folder() / "atelier" / f"v{_EDITION}-{name}"
    if not (folder / "table.csv").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            draw_atelier(unfinished, **numbers, progress=_say if sys.stderr.isatty() else None)
            _publish(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / ("edits.csv" if source.startswith("atelier-edits") else "table.csv")


def parsed(source: str) -> dict[str, int]:
    """The arguments of `draw_atelier` that "atelier:products=300" means, defaults included."""
    numbers = dict(_DEFAULTS)
    for item in filter(None, source.partition(":")[2].split(",")):
        name, equals, value = (word.strip() for word in item.partition("="))
        if name not in numbers or not equals or not value.isdigit():
            known = ",".join(f"{key}={number}" for key, number in _DEFAULTS.items())
            raise DataError(f'"{item}" in "{source}" is not understood; write whole numbers like atelier:{known}')
        numbers[name] = int(value)
    return numbers


def _remove_stale(folder: Path) -> None:
    """Removes what drawings that were killed more than a day ago left behind."""
    for unfinished in folder.parent.glob(f"{folder.name}.*"):
        with contextlib.suppress(OSError):
            if time.time() - unfinished.stat().st_mtime > 86_400:
                shutil.rmtree(unfinished)


def _publish(unfinished: Path, folder: Path) -> None:
    try:
        os.replace(unfinished, folder)
    except OSError:  # another process was first, or an unfinished set lies there
        if not (folder / "table.csv").exists():
            shutil.rmtree(folder)
            os.replace(unfinished, folder)


def _say(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"\rdrawing Atelier: {done:,} of {total:,} pictures", end="\n" if done == total else "", file=sys.stderr)

"""Cells of a study: what each training found, by its key. Kept in a JSON file, so that an interrupted study goes on."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Numbers = dict[str, Any]


def add_cell_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json FILE` and `--minutes M`."""
    parser.add_argument("--json", type=Path, help="keeps what was found; cells that it has are not run again")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop before a cell that begins later (exit 3)")


class Cells:
    """Numbers by key. file: None keeps them in memory. told: what is said of a cell once it is done."""

    def __init__(self, file: Path | None, told: Callable[[Numbers], str], minutes: float = math.inf) -> None:
        self.file, self.told, self.until = file, told, time.monotonic() + 60 * minutes
        known = file is not None and file.is_file()
        self.found: dict[str, Numbers] = json.loads(file.read_text("utf-8")) if known and file else {}

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def get(self, key: str, make: Callable[[], Numbers]) -> Numbers:
        """The numbers of a cell, made unless they are known."""
        if key not in self.found:
            if time.monotonic() > self.until:
                raise SystemExit(3)  # not finished
            self.found[key] = make()
            self._write()
            print(f"  {key}: {self.told(self.found[key])}", file=sys.stderr, flush=True)
        return self.found[key]

    def _write(self) -> None:
        """A line a cell; the file is whole at every moment."""
        if self.file is None:
            return
        lines = [f"{json.dumps(key)}:{json.dumps(of, separators=(',', ':'))}" for key, of in self.found.items()]
        fresh = self.file.with_name(self.file.name + ".tmp")
        fresh.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
        fresh.replace(self.file)

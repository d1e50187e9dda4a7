"""Where things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """FASHREG_CACHE, else XDG_CACHE_HOME/fashreg, else ~/.cache/fashreg; not created here."""
    chosen = os.environ.get("FASHREG_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "fashreg"

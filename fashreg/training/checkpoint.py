"""Checkpoints: safetensors and JSON in a folder that is written whole or not at all. Nothing is ever unpickled."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fashreg.errors import ModelError
from fashreg.manifest import verify_folder, write_folder_atomically
from fashreg.strict_json import read_json, write_json
from fashreg.strict_tensors import read_tensors, write_tensors
from fashreg.training.packing import pack, unpack

KIND = "checkpoint"
_STATE, _TENSORS = "state.json", "state.safetensors"
_NAME = re.compile(r"step-(\d{9,})")


class Checkpoints:
    """The checkpoints of one run, below `folder`, named by optimiser step. The newest `keep` are kept.

    One process writes (the run folder's lock sees to that), so whatever a killed one left half done is cleared away.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove older ones; whoever is killed on the way leaves the one before whole."""
        target = self.folder / f"step-{step:09d}"
        write_state(target, state)
        for old in [*self._all()[: -self.keep], *self.folder.glob(".step-*.new-*")]:
            shutil.rmtree(old, ignore_errors=True)
        for lock in self.folder.glob(".step-*.lock"):
            lock.unlink(missing_ok=True)
        return target

    def newest(self) -> Path | None:
        """The newest checkpoint that was written to its end, None when there is none."""
        found = self._all()
        return found[-1] if found else None

    def load(self) -> dict[str, Any] | None:
        """The state in the newest checkpoint, verified; None when there is none."""
        path = self.newest()
        return None if path is None else read_state(path)

    def _all(self) -> list[Path]:
        """Complete checkpoints (a folder appears under its name only when it is whole), oldest first."""
        if not self.folder.is_dir():
            return []
        found = [(int(m.group(1)), p) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name))]
        return [path for _, path in sorted(found)]


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """One tree of state (see `fashreg.training.packing`) as a folder with a manifest."""
    tensors, plain = pack(state)
    with write_folder_atomically(folder, kind=KIND) as fresh:
        write_tensors(fresh / _TENSORS, tensors)
        write_json(fresh / _STATE, plain)


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` wrote; ModelError when any of it is missing or was changed."""
    manifest = verify_folder(folder, kind=KIND)
    try:
        state = unpack(read_tensors(manifest.path(_TENSORS), finite=False), read_json(manifest.path(_STATE)))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{folder} cannot be read as a checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise ModelError(f"{folder} holds no checkpoint but a {type(state).__name__}")
    return state


def random_state() -> dict[str, Any]:
    """The random states of this process: Python, numpy, torch on the CPU and on its GPUs."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": {"version": version, "words": np.array(words, dtype=np.int64), "gauss": gauss},
        "numpy": dict(np.random.get_state(legacy=False)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on where `random_state` was taken."""
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(dict(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Fix the global random states of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)

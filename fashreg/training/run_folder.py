"""The folder of one run: recipe.yaml, environment.json, metrics.jsonl, checkpoints/, model/, and a lock."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from fashreg import __version__, registry
from fashreg.errors import BusyError, ModelError, RecipeError
from fashreg.strict_json import write_json
from fashreg.strict_yaml import read_yaml
from fashreg.training.checkpoint import Checkpoints

RECIPE, ENVIRONMENT, METRICS, CHECKPOINTS, MODEL, LOCK = (
    "recipe.yaml",
    "environment.json",
    "metrics.jsonl",
    "checkpoints",
    "model",
    "lock",
)
#: Fields of the recipe that may differ when a run is resumed: they change how long and how, not what is computed.
MAY_CHANGE = frozenset(
    {
        "description",
        "licence",
        "data.workers",
        "data.decoded",
        "data.root",
        "trainer.epochs",
        "trainer.max_steps",
        "trainer.patience",
        "trainer.checkpoint_every",
        "trainer.checkpoint_steps",
        "trainer.log_every",
        "trainer.keep_freed_memory",
        "trainer.trackers",
    }
)
_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "safetensors", "numpy", "pandas", "pillow", "faiss-cpu")


class RunFolder:
    """Paths and small files of a run. Made by `open_run`; ranks other than the first only read."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.checkpoints = Checkpoints(path / CHECKPOINTS)
        self.model = path / MODEL

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one JSON line to metrics.jsonl."""
        if self.writes:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=float) + "\n")

    def log_size(self) -> int:
        """Bytes of metrics.jsonl now; a checkpoint keeps it, so that a resumed run repeats no line."""
        path = self.path / METRICS
        return path.stat().st_size if path.exists() else 0

    def cut_log(self, size: int) -> None:
        """Drop the lines that were written after a checkpoint."""
        path = self.path / METRICS
        if self.writes and path.exists() and path.stat().st_size > size:
            os.truncate(path, size)


@contextlib.contextmanager
def open_run(path: str | Path, *, recipe: Mapping[str, Any] | None = None, resume: bool = False) -> Iterator[RunFolder]:
    """The run folder, made if need be and locked against a second writer until the block ends.

    recipe: the resolved recipe as plain data, kept as recipe.yaml. resume: go on in a folder that holds this run (a
    folder without a run, or without a checkpoint yet, starts from the beginning).
    Raises BusyError when another process trains into it, RecipeError when it holds another run or other files.
    """
    folder = Path(path)
    if int(os.environ.get("RANK", "0")) != 0:
        yield RunFolder(folder, writes=False)
        return
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file; give the name of a folder: --out runs/NAME")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _check_contents(folder, recipe, resume)
        run = RunFolder(folder)
        if run.checkpoints.newest() is None:
            run.cut_log(0)
        if recipe is not None:
            text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
            _replace(folder / RECIPE, text)
        write_json(folder / ENVIRONMENT, environment())
        yield run


def environment() -> dict[str, Any]:
    """What the run depends on beside its recipe: versions of Python, libraries and plugins, processors, settings."""
    plugins = {e.plugin: e.version for e in registry.entries() if e.plugin != registry.CORE}
    return {
        "fashreg": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "plugins": plugins,
        "settings": {k: v for k, v in sorted(os.environ.items()) if k.startswith("FASHREG_") and "TOKEN" not in k},
    }


def versions(plugins: Iterable[str] = ()) -> dict[str, str]:
    """What a model was made with, for its card: Python, libraries, these plugins, and the kind of machine."""
    found = environment()
    own = {name: str(found[name]) for name in ("fashreg", "python")}
    used = {name: version for name, version in found["plugins"].items() if name in set(plugins)}
    machine = f"{platform.system()} {platform.machine()}".strip()
    return {**own, **found["libraries"], **used, "on": machine}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _check_contents(folder: Path, recipe: Mapping[str, Any] | None, resume: bool) -> None:
    present = {p.name for p in folder.iterdir()} - {LOCK}
    ours = {RECIPE, ENVIRONMENT, METRICS, CHECKPOINTS, MODEL}
    if not present:
        return
    if not present & ours:
        raise RecipeError(f"{folder} holds other files ({', '.join(sorted(present)[:3])}); choose an empty folder")
    if not resume:
        raise RecipeError(f"{folder} already holds a run; go on with it by --resume, or choose another folder")
    if recipe is not None and (folder / RECIPE).exists():
        try:
            before = read_yaml((folder / RECIPE).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder / RECIPE} cannot be read: {error}") from error
        changed = sorted(_differences(before, json.loads(json.dumps(dict(recipe)))) - MAY_CHANGE)
        if changed:
            raise RecipeError(
                f"{folder} holds a run with another recipe (different: {', '.join(changed[:5])}); give the same recipe "
                "to go on with it, or choose another folder",
                field=changed[0],
            )


def _differences(one: Any, other: Any, place: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        names = {*one, *other}
        return {d for n in names for d in _differences(one.get(n), other.get(n), f"{place}.{n}" if place else str(n))}
    return set() if one == other else {place}


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `folder/lock`, which names this process. The system drops the lock of a dead process, so none is stale."""
    path = folder / LOCK
    handle = _hold(path)
    if handle is None:
        raise BusyError(f"{folder} is being written by {_holder(path)}; wait for it, stop it, or choose another --out")
    try:
        os.truncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _hold(path: Path) -> int | None:
    """The open, locked file; None when another process holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except ImportError:  # no such locks on this system: two writers are not told of one another
            return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        os.close(handle)  # the holder removed the file between our open and our lock: again


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

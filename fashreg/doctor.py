"""What works on this machine: every component imported and timed, hooks, library versions, devices."""

from __future__ import annotations

import importlib
import platform
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fashreg import registry
from fashreg.errors import ComponentError

LIBRARIES = (
    "torch", "torchvision", "timm", "accelerate", "faiss-cpu", "safetensors", "huggingface-hub",
    "numpy", "pandas", "pyarrow", "pillow", "pydantic", "pluggy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One component: does it import and is its constructor a schema; seconds: its import, libraries loaded before."""

    kind: str
    name: str
    plugin: str
    version: str
    seconds: float
    problem: str


@dataclass
class Report:
    """Everything `fashreg doctor` says."""

    python: str
    core: str
    libraries: dict[str, str]
    devices: list[str]
    threads: int
    components: list[Finding] = field(default_factory=list)
    conflicts: dict[str, list[str]] = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """True when every component imports, no name is claimed twice, and every hook module loads."""
        missing = any(not v for v in self.libraries.values())
        return not (missing or self.conflicts or self.hooks or any(f.problem for f in self.components))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with `healthy`."""
        return {**asdict(self), "healthy": self.healthy}

    def lines(self) -> list[str]:
        """The report for a terminal."""
        out = [f"fashreg {self.core}, Python {self.python}, devices: {', '.join(self.devices)}, {self.threads} threads"]
        out += [f"  {name} {found or 'NOT INSTALLED'}" for name, found in self.libraries.items()]
        out += ["", f"{len(self.components)} components"]
        for f in self.components:
            state = f"BROKEN: {f.problem}" if f.problem else f"ok, import {1000 * f.seconds:.0f} ms"
            out.append(f"  {f.kind} {f.name} ({f.plugin} {f.version}): {state}")
        for name, choices in self.conflicts.items():
            out.append(f"  CLAIMED TWICE: {name}; write one of {', '.join(choices)}")
        out += [f"  HOOKS OF {plugin} NOT LOADED: {problem}" for plugin, problem in self.hooks.items()]
        out += ["", "all well" if self.healthy else "something is broken (above); everything else works"]
        return out


def examine() -> Report:
    """Import everything that is seen, one by one, and report. Never raises for a plugin's fault."""
    import torch

    for library in ("torchvision", "timm", "pydantic"):  # so that their time is not charged to the first component
        try:
            importlib.import_module(library)
        except ImportError:
            continue
    report = Report(platform.python_version(), _version("fashreg"), {n: _version(n) for n in LIBRARIES}, _devices(), 0)
    report.threads = torch.get_num_threads()
    names: dict[str, list[str]] = {}
    for entry in registry.entries():
        names.setdefault(f"{entry.kind} {entry.name}", []).append(entry.qualified)
        report.components.append(_examine_one(entry))
    report.conflicts = {name: choices for name, choices in names.items() if len(choices) > 1}
    report.hooks = _broken_hooks()
    return report


def _examine_one(entry: registry.Entry) -> Finding:
    from fashreg.component import config_model

    start, problem = time.perf_counter(), ""
    try:
        config_model(registry.load(entry))
    except ComponentError as error:
        problem = str(error)
    except Exception as error:  # a plugin's class may fail in any way when its constructor is read
        problem = f"its constructor cannot be read: {type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    return Finding(entry.kind, entry.name, entry.plugin, entry.version, seconds, problem)


def _broken_hooks() -> dict[str, str]:
    from fashreg.plugins import hooks, shipped_recipes

    shipped_recipes()
    return {" ".join(key).strip(): problem for key, problem in hooks().broken.items()}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _devices() -> list[str]:
    import torch

    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]

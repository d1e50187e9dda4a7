"""Fixtures that several rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from command_line import Fashreg, Result
from hypothesis import HealthCheck, settings

# Tests are tiny: on a busy machine threads that wait for one another make them up to 60 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What hypothesis takes for a slow strategy is, on a busy machine, the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

FakePlugin = Callable[..., str]


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of the person who runs it, and none is narrowed by their environment."""
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("FASHREG_PLUGINS", raising=False)


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are written as ever, and nobody waits until they lie on the disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that holds fake installed distributions; what was imported from it is forgotten after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def fake_plugin(site: Path) -> FakePlugin:
    """Make a distribution with entry points, as an installer would leave it on disk."""

    def make(
        name: str,
        entry_points: Mapping[str, Mapping[str, str]],
        code: str = "",
        *,
        version: str = "1.0",
        requires: str | None = "fashreg>=0.1,<0.2",
    ) -> str:
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        sections = [
            f"[{group}]\n" + "".join(f"{key} = {target}\n" for key, target in points.items())
            for group, points in entry_points.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(sections))
        from fashreg.installed import scan

        scan.cache_clear()
        return module

    return make


@pytest.fixture
def python(site: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in a fresh interpreter that sees the fake site."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, "PYTHONPATH": paths, **environment}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)

    return run


@pytest.fixture
def fashreg(capsys: pytest.CaptureFixture[str]) -> Fashreg:
    """Run the command line in this process."""
    from fashreg.cli import run

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        status = run([str(a) for a in arguments])
        said = capsys.readouterr()
        return Result(status, said.out, said.err)

    return call

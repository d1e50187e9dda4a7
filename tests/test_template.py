"""contrib/template does what its README says: copied and renamed, it is found, and its tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fashreg.interfaces import KINDS

TEMPLATE = Path(__file__).parents[1] / "contrib" / "template"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the template as git keeps it."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "dist")
    return shutil.copytree(TEMPLATE, tmp_path / "fashreg-soft-pool", ignore=ignore)


def rename(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "rename.py", *names]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def installed(folder: Path, site: Path) -> None:
    """What `pip install -e folder` leaves behind that matters here: metadata with entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in project["dependencies"])
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{needs}"
    )
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in e.items()) for group, e in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def test_a_renamed_copy_is_found_by_its_new_name_and_passes_its_tests(copied: Path, tmp_path: Path) -> None:
    done = rename(copied, "soft-pool")
    assert done.returncode == 0, done.stderr
    assert not (copied / "rename.py").exists()
    left = [path for path in copied.rglob("*") if path.is_file() and "fashreg_template" in path.read_text("utf-8")]
    assert not left
    installed(copied, tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path / "site"), str(copied / "src")))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(copied), "tests"]
    tests = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stdout + tests.stderr
    command = [sys.executable, "-m", "fashreg", "list", "head"]
    listed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert any(line.split()[1:3] == ["soft-pool", "fashreg-soft-pool"] for line in listed.stdout.splitlines())


@pytest.mark.parametrize("names", [(), ("Soft_Pool",), ("template",), ("a", "b")])
def test_a_name_that_will_not_do_changes_nothing(copied: Path, names: tuple[str, ...]) -> None:
    done = rename(copied, *names)
    assert done.returncode != 0
    assert "usage: python rename.py NAME" in done.stderr
    assert (copied / "src" / "fashreg_template").is_dir()


def test_the_template_itself_cannot_be_renamed_by_mistake(copied: Path) -> None:
    (copied.parent / "fashreg-lite0").mkdir()  # its neighbour in this repository
    done = rename(copied, "oops")
    assert done.returncode != 0
    assert "copy the folder" in done.stderr


def test_the_readme_names_every_kind_with_a_contract_suite_that_exists() -> None:
    readme = (TEMPLATE / "README.md").read_text("utf-8")
    for kind in KINDS:
        assert f"`fashreg.{kind}`" in readme
        name = f"{kind.capitalize()}Contract"
        assert f"`{kind}.{name}`" in readme
        suite = TEMPLATE.parents[1] / "fashreg" / "testing" / f"{kind}.py"
        assert f"class {name}" in suite.read_text("utf-8")

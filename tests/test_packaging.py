"""How the core is installed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import fashreg

ROOT = Path(__file__).parents[1]


def test_an_editable_install_lies_on_the_path_where_editors_and_type_checkers_look() -> None:
    """With a package-dir for everything setuptools writes the folder into a .pth file, else a finder that is run."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert tools["package-dir"] == {"": "."}
    assert tools["packages"]["find"] == {"where": ["."], "include": ["fashreg*"]}


def test_types_are_installed_too() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "py.typed" in tools["package-data"]["fashreg"]
    assert (Path(fashreg.__file__).parent / "py.typed").is_file()

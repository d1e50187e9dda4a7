"""A drawn table, and a run that learned two attributes on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from learning_on import RECIPE

import fashreg
from fashreg.cli import run as command
from fashreg.jobs.continuing import ContinuedRun, continue_training


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn table, and a run that learned category and colour on it."""
    folder = tmp_path_factory.mktemp("shop")
    assert command(["data", "atelier", "--out", str(folder), "--products", "24", "--views", "3", "--size", "32"]) == 0
    fashreg.train(RECIPE, table=folder / "table.csv", out=folder / "first", quiet=True)
    return folder


@pytest.fixture
def table(shop: Path) -> Path:
    return shop / "table.csv"


@pytest.fixture
def first(shop: Path) -> Path:
    """The run that knows category and colour."""
    return shop / "first"


@pytest.fixture(scope="session")
def second(shop: Path) -> ContinuedRun:
    """The same with pattern added."""
    return continue_training(shop / "first", add="pattern", table=shop / "table.csv", out=shop / "second", quiet=True)

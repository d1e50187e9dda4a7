from __future__ import annotations

from pathlib import Path

import pytest

from fashreg.cli import run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small drawn table and a run trained on it by the command line."""
    folder = tmp_path_factory.mktemp("shop")
    draw = ["data", "atelier", "--out", str(folder / "atelier"), "--products", "24", "--views", "3", "--size", "64"]
    assert run(draw) == 0
    train = ["train", "quick", "--set", f"data.table={folder}/atelier/table.csv", "--out", str(folder / "run")]
    assert run([*train, "--set", "trainer.epochs=1"]) == 0
    return folder

"""The snippets of the README run as they stand, and what it says of the gains is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from fashreg_acbn.kalman import steady_gain

from fashreg.cli import run

README = Path(__file__).parents[1] / "README.md"


def test_the_snippets_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path / "cache"))
    assert run(["data", "atelier", "--out", ".", "--products", "32", "--views", "3", "--size", "48"]) == 0
    (tmp_path / "table.csv").rename("my.csv")
    found = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(found) == 2
    space: dict[str, object] = {}
    for code in found:
        exec(compile(code, str(README), "exec"), space)
    memory = space["memory"]
    assert len(memory) == 256  # type: ignore[arg-type]
    assert not torch.equal(memory.scale, torch.ones(16).double())  # type: ignore[attr-defined]


def test_the_gains_of_the_readme_are_those_of_the_filter() -> None:
    said = re.search(
        r"gain ends at (.*?) for q = 0.001, (.*?) for 0.01, (.*?) for 0.1, (.*?) for 1\.", README.read_text()
    )
    assert said
    for q, value in zip((0.001, 0.01, 0.1, 1.0), said.groups(), strict=True):
        assert f"{steady_gain(q, 1.0):.2f}" == value

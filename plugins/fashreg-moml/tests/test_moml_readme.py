"""The snippets of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fashreg.cli import run

README = Path(__file__).parents[1] / "README.md"


def test_the_snippets_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path / "cache"))
    assert run(["data", "atelier", "--out", ".", "--products", "32", "--views", "4", "--size", "48"]) == 0
    (tmp_path / "table.csv").rename("my.csv")
    found = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(found) == 2
    space: dict[str, Any] = {}
    for code in found:
        exec(compile(code, str(README), "exec"), space)
    assert space["step"] == 48
    assert len(space["sampler"].state_dict()["seen"]) >= 1
    assert {"pair", "proxy", "repulsion", "weight[pair]", "share[pair]", "share[repulsion]"} <= set(space["loss"].parts)
    assert space["run"].report.steps == 6

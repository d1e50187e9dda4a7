"""Learning on, as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Fashreg


def test_the_command_learns_writes_a_report_and_says_what_was_kept(
    fashreg: Fashreg, first: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    status, said, _ = fashreg("continue", first, "--add-attribute", "pattern", "--table", table, "--out", out)
    assert status == 0
    assert "kept to the bit: category, colour" in said
    page = (out / "report.html").read_text()
    assert "Learning in increments" in page
    assert 'class="cell own"' in page


def test_the_command_can_only_check(fashreg: Fashreg, first: Path, table: Path) -> None:
    status, said, _ = fashreg("continue", first, "--add-attribute", "pattern", "--table", table, "--dry-run")
    assert status == 0
    assert "experience pattern:" in said
    status, _, said = fashreg("continue", first, "--add-attribute", "pattern", "--table", table)
    assert status == 1
    assert "--out runs/NAME" in said


def test_the_command_prints_json(fashreg: Fashreg, first: Path, table: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "run", "--json", "--no-report"]
    status, said, _ = fashreg("continue", first, "--add-attribute", "pattern", "--table", table, *out)
    assert status == 0
    found = json.loads(said[said.index("{\n") :])
    assert found["kept"]["equal"] == {"category": True, "colour": True}
    assert found["added"] == ["pattern"]

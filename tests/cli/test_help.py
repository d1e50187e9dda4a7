"""What `--help` shows."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from fashreg.cli.helping import first_clause

GROUPS = ("index", "data")


def commands_of(shown: str) -> dict[str, str]:
    """Command -> what is said of it."""
    below = shown.partition("Commands:\n")[2]
    return dict(re.findall(r"^  (\S+) +(.+?)(?=\n  \S|\Z)", below.rstrip(), flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("typed", [(), *((group,) for group in GROUPS)])
def test_what_commands_do_is_said_whole_on_a_narrow_terminal(
    fashreg: Any, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = commands_of(fashreg(*typed, "--help").out)
    assert len(found) >= 4
    assert all(said.strip() and "..." not in said for said in found.values())
    if not typed:
        assert found["compatible"] == "Must the gallery be embedded again?"


def test_every_command_shows_what_to_type_and_no_types_of_python(fashreg: Any) -> None:
    pages = {name: fashreg(name, "--help").out for name in commands_of(fashreg("--help").out)}
    for group in GROUPS:
        pages |= {f"{group} {name}": fashreg(group, name, "--help").out for name in commands_of(pages[group])}
    for name, page in pages.items():
        options = page.partition("Options:")[2]
        assert not re.search(r"<(str|path|int|float|list)", options), name
        for setting in re.findall(r"--set (\S+)", options)[:1]:
            assert setting == "FIELD=VALUE", name
    assert "{MODEL} {IMAGE}..." in pages["caption"]


def test_a_recipe_that_is_wrong_is_told_before_torch_comes() -> None:
    typed = ["train", "quick", "--set", "trainer.epoch=3", "--out", "x"]
    code = f"import sys\nfrom fashreg.cli import run\nprint(run({typed!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
    assert "did you mean 'epochs'?" in done.stderr


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Train a model: checks first.", "Train a model"),
        ("Again? New queries.", "Again?"),
        ("Write 95 % of 0.5 at once; and more", "Write 95 % of 0.5 at once"),
        ("", ""),
    ],
)
def test_a_clause_ends_where_a_sentence_is_cut(text: str, clause: str) -> None:
    assert first_clause(text) == clause

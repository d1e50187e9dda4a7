"""Documentation that cannot rot: snippets run, commands exist, every kind, error and command is described."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from fashreg.cli import run
from fashreg.interfaces import KINDS
from fashreg.testing.local_hub import LocalHub, client_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORTER = ["--set", "trainer.max_steps=2", "--set", "trainer.cache=none", "--set", "trainer.batch_size=32"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    assert run(["data", "atelier", "--out", str(folder), "--products", "32", "--views", "4", "--size", "64"]) == 0
    return folder


@pytest.fixture
def desk(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as the pages assume it: my.csv with its pictures, and a query.png; ann is logged in to a local Hub."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "table.csv", tmp_path / "my.csv")
    picture = next(p for p in tmp_path.rglob("*.png"))
    Image.open(picture).save(tmp_path / "query.png")
    monkeypatch.chdir(tmp_path)
    with LocalHub() as hub, client_of(hub, tmp_path / "hf-home", token=hub.token("ann")):
        yield tmp_path


def pages_with(language: str) -> Iterator[object]:
    for page in PAGES:
        if blocks(page, language):
            yield pytest.param(page, id=page.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_snippets_run_in_the_order_of_the_page(page: Path, desk: Path) -> None:
    space: dict[str, object] = {"__name__": "page", "__file__": str(desk / "page.py")}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), space)


@pytest.mark.parametrize("page", pages_with("bash"))
def test_commands_run_in_the_order_of_the_page(page: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                assert words[0] == "fashreg", f"only fashreg commands stand in bash blocks: {line}"
                status = run(words[1:] + (SHORTER if words[1] == "train" else []))
                assert status == 0, f"{line}: {capsys.readouterr().err}"


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "docs/make_reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_kind_error_and_command_is_described() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    from fashreg import errors

    names = [n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, Exception)]
    commands = ["list", "show", "doctor", "recipes", "schema", "train", "evaluate", "embed", "index build", "search"]
    commands += ["push", "pull", "versions", "tag", "card", "compare", "continue", "classify", "caption"]
    for needed in [*KINDS, *names, *(f"fashreg {c}" for c in commands)]:
        assert needed in text, needed


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *(ROOT / "docs" / "decisions").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_python_file_of_the_benchmarks_is_in_the_docs() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert f"benchmarks/{path.name}" in text, path.name

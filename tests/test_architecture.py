"""The house: imports point down only, rooms never import one another, and heavy libraries live in one place each."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import fashreg

ROOT = Path(fashreg.__file__).parent
REPOSITORY = ROOT.parent
ROOMS = ("backbones", "heads", "losses", "memories", "samplers", "evaluators", "indexes", "rerankers", "data")
LEVELS = {
    **dict.fromkeys(
        (
            "errors",
            "embedded",
            "values",
            "interfaces",
            "component",
            "config",
            "config_component",
            "config_data",
            "config_errors",
            "config_tasks",
            "config_trainer",
            "config_stream",
            "formats",
            "hookspecs",
            "licences",
            "strict_yaml",
        ),
        0,
    ),
    **dict.fromkeys(
        (
            "config",
            "installed",
            "registry",
            "plugins",
            "catalog",
            "manifest",
            "folder_lock",
            "folder_swap",
            "own_paths",
            "strict_json",
            "strict_tensors",
            "protocol",
            "readme",
        ),
        1,
    ),
    **dict.fromkeys(("assembly", "functional", "hub"), 2),
    **dict.fromkeys(ROOMS, 3),
    **dict.fromkeys(("encoder", "storage", "learners", "training"), 4),
    **dict.fromkeys(("jobs", "doctor"), 5),
    "report": 6,
    **dict.fromkeys(("cli", "__main__"), 7),
}
ONLY_IN = {
    "timm": ("backbones/timm.py",),
    "faiss": ("indexes/",),
    "huggingface_hub": ("hub/", "backbones/timm.py"),
    "accelerate": ("training/",),
    "pluggy": ("hookspecs.py", "plugins.py"),
    "jinja2": ("report/",),
}
FILES = sorted(p for p in ROOT.rglob("*.py") if "testing" not in p.relative_to(ROOT).parts)


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Everything that stands in a file; each file is read once for all tests."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def calls_of(path: Path) -> frozenset[str]:
    """What a file calls, as it is written there."""
    return frozenset(ast.unparse(node.func) for node in nodes_of(path) if isinstance(node, ast.Call))


@cache
def modules_of(path: Path, *, typing_too: bool = False) -> tuple[str, ...]:
    """Dotted names of everything a file imports, at module level or inside functions; TYPE_CHECKING blocks left out."""
    found: list[str] = []
    skipped: set[ast.AST] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing_too:
            skipped.update(child for part in node.body for child in ast.walk(part))
    for node in nodes_of(path):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def place_of(path: Path) -> str:
    """The module or room of a file: `fashreg/losses/triplet.py` -> losses."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down_only(path: Path) -> None:
    here = place_of(path)
    if here == "__init__":
        return
    for module in modules_of(path):
        parts = module.split(".")
        if parts[0] != "fashreg" or len(parts) == 1 or parts[1] == "__version__":
            continue
        there = parts[1]
        assert there in LEVELS, f"{path.name} imports {module}, which has no place in the house"
        assert there != "testing", f"{path.name} imports the test suites"
        if there == here:
            continue
        assert LEVELS[there] <= LEVELS[here], f"{here} (level {LEVELS[here]}) imports {module} above it"
        assert not (here in ROOMS and there in ROOMS), f"room {here} imports room {there}"


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_heavy_library_has_one_home(library: str) -> None:
    for path in FILES:
        if any(module.split(".")[0] == library for module in modules_of(path)):
            name = path.relative_to(ROOT).as_posix()
            assert name.startswith(ONLY_IN[library]), f"{name} imports {library}; its home is {ONLY_IN[library]}"


def test_the_core_never_imports_a_plugin() -> None:
    for path in FILES:
        assert not any(m.split(".")[0].startswith("fashreg_") for m in modules_of(path, typing_too=True)), path


def test_pytest_is_imported_by_the_contract_suites_only() -> None:
    for path in FILES:
        assert not any(m.split(".")[0] in {"pytest", "hypothesis"} for m in modules_of(path)), path


def test_every_module_has_its_place() -> None:
    assert {place_of(p) for p in FILES} <= {*LEVELS, "__init__"}


@pytest.mark.parametrize("forbidden", ["torch.load", "pickle.", "joblib", "eval(", "exec(", "trust_remote_code"])
def test_no_package_unpickles_or_executes_what_it_reads(forbidden: str) -> None:
    sources = [
        *ROOT.rglob("*.py"),
        *REPOSITORY.glob("plugins/*/src/**/*.py"),
        *REPOSITORY.glob("contrib/*/src/**/*.py"),
    ]
    name = forbidden.rstrip("(.")
    for path in sources:
        for called in calls_of(path):
            if forbidden.endswith("("):
                assert called != name, f"{path} calls {called}"
            else:
                assert not f"{called}.".startswith(f"{name}."), f"{path} calls {called}"
        for node in nodes_of(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {n.split(".")[0] for n in names} & {"pickle", "joblib", "dill", "cloudpickle"}, path


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_fashreg_pulls_in_nothing_heavy() -> None:
    loaded = fresh("import sys, fashreg; print('\\n'.join(sys.modules))").split()
    for heavy in ("torch", "timm", "faiss", "pandas", "pydantic", "numpy", "pluggy", "typer", "accelerate"):
        assert heavy not in loaded


@pytest.mark.parametrize("arguments", [["list"], ["list", "loss", "--json"], ["recipes"], ["--version"], ["--help"]])
def test_looking_around_imports_no_torch(arguments: list[str]) -> None:
    code = f"import sys\nfrom fashreg.cli import run\nassert run({arguments!r}) == 0\nprint('\\n'.join(sys.modules))"
    loaded = fresh(code).split("\n")
    for heavy in ("torch", "timm", "faiss", "pandas"):
        assert heavy not in loaded


def test_every_public_name_loads_and_no_public_function_hides_a_module() -> None:
    for name in fashreg.__all__:
        assert getattr(fashreg, name) is not None
        assert not (ROOT / f"{name}.py").exists()
        assert not (ROOT / name).is_dir()
    assert set(fashreg.__all__) <= set(dir(fashreg))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fashreg.nothing


def test_no_file_is_a_drawer_for_leftovers() -> None:
    for path in ROOT.rglob("*.py"):
        assert path.stem not in {"utils", "common", "base", "helpers", "misc"}, path

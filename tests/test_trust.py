"""What no package does: unpickle, execute what it reads, or import what a file names. The source itself is read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fashreg
from fashreg import registry
from fashreg.errors import ComponentError
from fashreg.interfaces import KINDS

ROOT = Path(fashreg.__file__).parent
REPOSITORY = ROOT.parent
SOURCES = sorted(
    [
        *ROOT.rglob("*.py"),
        *REPOSITORY.glob("plugins/*/src/**/*.py"),
        *REPOSITORY.glob("contrib/*/src/**/*.py"),
    ]
)
MODULES = frozenset(
    (
        "pickle",
        "_pickle",
        "cPickle",
        "dill",
        "cloudpickle",
        "joblib",
        "marshal",
        "shelve",
        "runpy",
        "code",
        "codeop",
        "imp",
        "zipimport",
        "jsonpickle",
        "subprocess",
        "torch.package",
        "torch.hub",
        "pandas.io.pickle",
        "numpy.lib.npyio",
    )
)
NAMES = frozenset(
    (
        "torch.load",
        "torch.save",
        "torch.jit.load",
        "torch.hub",
        "torch.package",
        "os.system",
        "os.popen",
        "os.startfile",
        "pandas.read_pickle",
        "pd.read_pickle",
        "np.fromregex",
        "yaml.full_load",
        "yaml.unsafe_load",
        "yaml.load_all",
        "yaml.full_load_all",
        "yaml.unsafe_load_all",
        "yaml.Loader",
        "yaml.UnsafeLoader",
        "yaml.FullLoader",
        "faiss.read_index",
        "faiss.deserialize_index",
        "faiss.read_VectorTransform",
        "timm.models.load_checkpoint",
    )
)
METHODS = frozenset({"read_pickle", "to_pickle", "exec_module", "load_module"})
BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
IMPORTERS = frozenset(
    {"importlib.import_module", "importlib.util.spec_from_file_location", "importlib.util.module_from_spec"}
)
#: Who imports by name, and only names that installed metadata, or this package's own table, gave.
MAY_IMPORT = {"fashreg/__init__.py", "fashreg/registry.py", "fashreg/plugins.py", "fashreg/doctor.py"}
#: Suites and servers for tests, which no job imports.
FOR_TESTS = "fashreg/testing/"
FLAGS = {"allow_pickle": True, "trust_remote_code": True, "weights_only": False, "shell": True}
LOADERS = frozenset({"_StrictLoader", "yaml.SafeLoader"})


def dangers(source: str, *, may_import: bool = False) -> list[str]:
    """What a source does that it must not, as `line: what`."""
    tree = ast.parse(source)
    return [f"{getattr(node, 'lineno', 0)}: {what}" for node in ast.walk(tree) for what in _of(node, may_import)]


def _of(node: ast.AST, may_import: bool) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"imports {a.name}" for a in node.names if _is_forbidden_module(a.name))
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        dotted = [f"{module}.{a.name}" for a in node.names]
        yield from (
            f"imports {name}" for name in dotted if _is_forbidden_module(module) or _is_forbidden(name, may_import)
        )
        yield from (f"imports {name}" for name in dotted if name in ("numpy.load", "yaml.load"))
    elif isinstance(node, ast.Attribute):
        if _is_forbidden(ast.unparse(node), may_import) or node.attr in METHODS:
            yield f"names {ast.unparse(node)}"
    elif isinstance(node, ast.Name) and node.id in BUILTINS:
        yield f"names {node.id}"
    elif isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
    yield from (f"{name}={value}" for name, value in FLAGS.items() if keywords.get(name) == str(value))
    if called in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False":
        yield f"{called} without allow_pickle=False"
    if called == "yaml.load" and keywords.get("Loader") not in LOADERS:
        yield f"{called} with {keywords.get('Loader')}"
    if called == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        name = f"{ast.unparse(node.args[0])}.{node.args[1].value}"
        if _is_forbidden(name, False) or node.args[1].value in METHODS | BUILTINS:
            yield f"names {name}"


def _is_forbidden_module(name: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in MODULES)


def _is_forbidden(name: str, may_import: bool) -> bool:
    runs = re.fullmatch(r"os\.(exec|spawn|posix_spawn)\w*", name)
    return name in NAMES or bool(runs) or (name in IMPORTERS and not may_import)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(REPOSITORY).as_posix())
def test_no_package_unpickles_executes_or_imports_what_it_reads(path: Path) -> None:
    place = path.relative_to(REPOSITORY).as_posix()
    found = dangers(path.read_text(encoding="utf-8"), may_import=place in MAY_IMPORT or place.startswith(FOR_TESTS))
    own = ("imports subprocess", "names subprocess", "imports runpy")  # runpy: a test's own script, in two processes
    allowed = own if place.startswith(FOR_TESTS) else ()
    assert [one for one in found if not one.split(": ", 1)[1].startswith(allowed or "\0")] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib as j", "from torch import load",
        "import torch.hub", "torch.load('x')", "load = torch.load", "torch.save({}, 'x')", "torch.jit.load('x')",
        "getattr(torch, 'load')('x')", "np.load('x')", "np.load('x', allow_pickle=True)", "numpy.load('x', None)",
        "from numpy import load", "pd.read_pickle('x')", "frame.to_pickle('x')", "yaml.load(t)",
        "yaml.load(t, Loader=yaml.Loader)", "yaml.unsafe_load(t)", "from yaml import load", "eval('1')", "exec('1')",
        "compile('1', '', 'exec')", "__import__('os')", "run = eval", "os.system('true')", "from os import system",
        "os.popen('x')", "os.execv('x', [])", "import subprocess", "import marshal", "from subprocess import run",
        "import shelve", "import dill", "import runpy", "importlib.import_module(name)",
        "from importlib import import_module", "importlib.util.spec_from_file_location('x', 'x.py')",
        "loader.exec_module(m)", "AutoModel.from_pretrained(n, trust_remote_code=True)", "f(weights_only=False)",
        "faiss.read_index('x')",
    ],
)  # fmt: skip
def test_the_reader_of_the_source_sees(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize(
    "source",
    ["np.load('x', allow_pickle=False)", "yaml.load(t, Loader=_StrictLoader)", "re.compile('x')", "model.eval()"],
)
def test_the_reader_of_the_source_lets_be(source: str) -> None:
    assert dangers(source) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "name",
    [
        "os:system", "os.system", "builtins:eval", "fashreg.heads.projection:ProjectionHead", "../evil",
        "/tmp/evil.py", "this", "antigravity:x", "hf-hub:evil/model", "https://127.0.0.1:9/x", "", ":", "fashreg:",
        "evil @ file:///tmp/x",
    ],
)  # fmt: skip
def test_names_of_components_resolve_to_installed_plugins_only(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(asked: str) -> None:
        raise AssertionError(f"{asked} was imported")

    monkeypatch.setattr("fashreg.registry.importlib.import_module", refuse)
    with pytest.raises(ComponentError):
        registry.find_class(kind, name)


def test_every_promise_of_the_security_page_names_a_test_that_exists() -> None:
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    section = page.split("## What is promised")[1].split("\n## ")[0]
    promises = [line for line in re.split(r"\n(?=- )", section.strip()) if line.startswith("- ")]
    assert len(promises) > 10
    for promise in promises:
        named = re.findall(r"`((?:tests|contrib)/[\w/.-]+\.py)(?:::(\w+))?`", promise)
        assert named, promise
        for path, test in named:
            source = (REPOSITORY / path).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in source, f"{path} has no {test}"

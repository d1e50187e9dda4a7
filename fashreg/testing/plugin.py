"""The contract of a plugin as a whole: it is found, its recipes train, its models outlive it or say its name.

Every test works on a small drawn set in a folder of its own and takes seconds.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fashreg import registry
from fashreg.assembly import build, check_recipe
from fashreg.catalog import KNOWN_PLUGINS
from fashreg.cli import run
from fashreg.component import options_of
from fashreg.config import read_recipe
from fashreg.errors import UnknownComponentError
from fashreg.plugins import hooks, shipped_recipes
from fashreg.testing.private import keep_private

DRAWN = ("--products", "32", "--views", "4", "--size", "48")


class PluginContract:
    """Override what stands first. Columns of the drawn set: label, style, category, colour, pattern, material, ...

    plugin: its distribution. module: its package. components: (kind, name) of everything it offers. recipes: name of
    each recipe it ships -> settings ("trainer.max_steps=4") that make it train on the drawn set in seconds, whose table
    is set already. readme: its README; its python and bash blocks run in their order, in a folder with the drawn set's
    pictures and `my.csv`. after_readme: Python that follows them, asserts on what they leave.
    """

    plugin: str
    module: str
    components: frozenset[tuple[str, str]]
    recipes: Mapping[str, tuple[str, ...]] = {}
    readme: Path
    after_readme: str = ""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each component and recipe."""
        for name, values in (("component", sorted(self.components)), ("recipe", sorted(self.recipes))):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=[v if isinstance(v, str) else "-".join(v) for v in values])

    @pytest.fixture(scope="session")
    def drawn(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A small drawn set: table.csv and its pictures."""
        folder = tmp_path_factory.mktemp("drawn")
        assert run(["data", "atelier", "--out", str(folder), *DRAWN]) == 0
        return folder

    @pytest.fixture(autouse=True)
    def _private(self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
        keep_private(monkeypatch, tmp_path_factory)

    # ---- what it brings ----

    def test_it_offers_what_it_says_and_nothing_else(self) -> None:
        offered = [entry for entry in registry.entries() if entry.plugin == self.plugin]
        assert {(entry.kind, entry.name) for entry in offered} == self.components
        assert not [entry.problem for entry in offered if entry.problem]

    def test_a_component_imports_and_every_option_has_a_meaning(self, component: tuple[str, str]) -> None:
        kind, name = component
        found = registry.find_class(kind, f"{self.plugin}:{name}")
        assert found.__module__.partition(".")[0] == self.module
        assert not [option.name for option in options_of(found) if not option.meaning]

    def test_its_hooks_load(self) -> None:
        assert not {name: why for (name, _), why in hooks().broken.items() if name == self.plugin}

    def test_without_it_the_error_says_what_to_install(self, component: tuple[str, str]) -> None:
        kind, name = component
        assert set(KNOWN_PLUGINS.get(self.plugin, ())) == self.components, "fashreg/catalog.py knows something else"
        with registry.only([]), pytest.raises(UnknownComponentError, match=f"pip install {self.plugin}"):
            build(kind, name)

    # ---- its recipes ----

    def test_it_ships_the_recipes_it_says_and_no_other(self) -> None:
        shipped = {recipe.name for recipe in shipped_recipes() if recipe.plugin == self.plugin}
        assert shipped == set(self.recipes)

    def test_a_recipe_names_what_exists_and_uses_the_plugin(self, recipe: str) -> None:
        read = read_recipe(recipe)
        check_recipe(read)
        assert read.description.strip().endswith(".")
        named = {name for _, name in self.components}
        assert named & set(re.findall(r"[\w.-]+", read.to_yaml())), "nothing in the recipe is of this plugin"

    def test_a_recipe_trains_and_its_model_works_without_the_plugin_or_says_what_to_install(
        self,
        recipe: str,
        drawn: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        table, model = str(drawn / "table.csv"), tmp_path / "run" / "model"
        settings = [word for s in (f"data.table={table}", *self.recipes[recipe]) for word in ("--set", s)]
        assert run(["train", recipe, *settings, "--out", str(tmp_path / "run")]) == 0, capsys.readouterr().err
        self.look_at_run(tmp_path / "run")
        config = json.loads((model / "config.json").read_text("utf-8"))
        said = config["head"]["config"]
        tasks = list(said.get("tasks") or said.get("kinds") or ())
        task = ["--task", tasks[0]] if len(tasks) > 1 else []
        building = ["index", "build", str(model), "--table", table, "--split", "test", *task]
        assert run([*building, "--out", str(tmp_path / "with")]) == 0, capsys.readouterr().err
        hide(self.plugin, self.module, monkeypatch)
        status = run([*building, "--out", str(tmp_path / "without")])
        told = capsys.readouterr().err
        if _belongs_to(self.plugin, [config["backbone"], config["head"]]):
            assert status != 0
            assert re.search(f"pip install .*{self.plugin}", told), told
        else:
            assert status == 0, told
            picture = str(next(drawn.rglob("*.png")))
            assert run(["search", str(tmp_path / "without"), "--image", picture, "-k", "3", "--json"]) == 0
            assert "score" in capsys.readouterr().out
        assert not any(name.partition(".")[0] == self.module for name in sys.modules)

    def look_at_run(self, folder: Path) -> None:
        """What else must hold of a run folder that a recipe left; overridden where a plugin says more of itself."""

    # ---- its README ----

    def test_the_snippets_of_the_readme_run_in_their_order(self, drawn: Path, tmp_path: Path) -> None:
        shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
        shutil.copy(tmp_path / "table.csv", tmp_path / "my.csv")
        program = as_one_program(self.readme.read_text("utf-8")) + self.after_readme
        (tmp_path / "readme.py").write_text(program, encoding="utf-8")
        paths = os.pathsep.join(path for path in sys.path if path)
        seen = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": paths}  # tiny work: threads only wait
        command = [sys.executable, "readme.py"]
        done = subprocess.run(command, cwd=tmp_path, env=seen, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_the_readme_names_every_component_and_every_recipe(self) -> None:
        text = self.readme.read_text("utf-8")
        missing = [
            name for name in (*(n for _, n in sorted(self.components)), *self.recipes) if f"`{name}`" not in text
        ]
        assert not missing


def as_one_program(page: str) -> str:
    """The python and bash blocks of a page as one Python program; commands must be fashreg's, and must succeed."""
    found = re.findall(r"^```(python|bash)\n(.*?)^```", page, re.M | re.S)
    assert any(language == "python" for language, _ in found), "the page shows no Python"
    program = ["import os", "os.fsync = lambda handle: None", "from fashreg.cli import run as _command"]
    for language, code in found:
        if language == "python":
            program.append(code)
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            assert not words or words[0] == "fashreg", f"only fashreg commands stand in bash blocks: {line}"
            program += [f"assert _command({words[1:]!r}) == 0, {line!r}"] if words else []
    return "\n".join(program) + "\n"


class _Absent:
    """Makes every import of a package fail, as if it were not installed."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.module:
            raise ImportError(f"{self.module} is hidden")


def hide(plugin: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rest of a test this plugin is neither seen nor importable; others are."""
    others = {entry.plugin for entry in registry.entries()} - {plugin, registry.CORE}
    monkeypatch.setenv("FASHREG_PLUGINS", ",".join(sorted(others)))
    monkeypatch.setattr(sys, "meta_path", [_Absent(module), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)


def _belongs_to(plugin: str, specs: Any) -> bool:
    """Whether any component in these specs, however deep, is of the plugin."""
    if isinstance(specs, Mapping):
        return specs.get("plugin") == plugin or any(_belongs_to(plugin, value) for value in specs.values())
    return isinstance(specs, list) and any(_belongs_to(plugin, item) for item in specs)

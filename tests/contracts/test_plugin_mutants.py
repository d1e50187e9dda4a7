"""Seeded faults: a plugin that is wrong in one way each, and the contract test that notices."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from seeded_faults import fails

from fashreg import installed
from fashreg.catalog import KNOWN_PLUGINS
from fashreg.cli import run
from fashreg.testing.plugin import DRAWN, PluginContract

CODE = '''
from pathlib import Path

from fashreg.hookspecs import hookimpl
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.heads.projection import ProjectionHead


class Plain(ContrastiveLoss):
    """A loss.

    Source: none.

    Args:
        pos_margin: where pulling ends.
        neg_margin: where pushing begins.
    """

    def __init__(self, pos_margin: float = 0.9, neg_margin: float = 0.5) -> None:
        super().__init__(pos_margin, neg_margin)


class Own(ProjectionHead):
    """A head of the plugin's own.

    Args:
        out_dim: width.
        in_dim: width of the features.
    """

    def __init__(self, out_dim: int = 8, *, in_dim: int) -> None:
        super().__init__(out_dim, in_dim=in_dim)


@hookimpl
def fashreg_recipes():
    return {path.stem: path for path in Path(__file__).parent.glob("toy-*.yaml")}
'''
RECIPE = """
description: A tiny run.
data: {table: "atelier:products=32,views=4", holdout: 0.0}
backbone: {name: timm, model: resnet10t, weights: null, image_size: 32}
head: HEAD
loss: plain
trainer: {epochs: 1, batch_size: 16, max_steps: 1}
"""
README = """
Loss `plain`, head `own`, recipe `toy-quick`.

```python
width = 8
```

```bash
fashreg list loss
```

```python
import fashreg

assert fashreg.build("head", "own", out_dim=width, in_dim=3).out_dim == 8
```
"""
ENTRY_POINTS = {
    "fashreg.loss": {"plain": "fashreg_toy:Plain"},
    "fashreg.head": {"own": "fashreg_toy:Own"},
    "fashreg": {"toy": "fashreg_toy"},
}

#: A fault: what of the plugin is otherwise, and the test that says so.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a component that is not announced": ({"components": {("loss", "plain")}}, "offers_what_it_says"),
    "a component that is not there": ({"target": "fashreg_toy:Gone"}, "a_component_imports"),
    "an option without a meaning": ({"code": ("pos_margin: where", "pos_edge: where")}, "a_component_imports"),
    "a module of hooks that fails": ({"code": ("@hookimpl", "1 / 0\n@hookimpl")}, "its_hooks_load"),
    "nobody knows how to get it": ({"known": False}, "without_it_the_error"),
    "a recipe that is not announced": ({"recipes": {}}, "ships_the_recipes"),
    "a recipe that names what does not exist": ({"recipe": ("plain", "plane")}, "names_what_exists"),
    "a recipe that does without the plugin": (
        {"recipe": ("loss: plain", "loss: contrastive")},
        "names_what_exists",
    ),
    "a recipe that fails": ({"recipe": ("max_steps: 1", "max_steps: 1, freeze: 99")}, "a_recipe_trains"),
    "a snippet that fails": ({"readme": ("width = 8", "width = 9")}, "snippets_of_the_readme"),
    "a command that fails": ({"readme": ("list loss", "list losses")}, "snippets_of_the_readme"),
    "a README that forgets a component": ({"readme": ("head `own`", "a head")}, "the_readme_names"),
}


@pytest.fixture
def plugin(
    fake_plugin: Any, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., type[PluginContract]]]:
    """Make the plugin with a fault, and its suite."""

    def make(head: str = "projection", **fault: Any) -> type[PluginContract]:
        def text(name: str, whole: str) -> str:
            return whole.replace(*fault[name]) if name in fault else whole

        points = {**ENTRY_POINTS, "fashreg.loss": {"plain": fault.get("target", "fashreg_toy:Plain")}}
        fake_plugin("fashreg-toy", points, text("code", CODE))
        (site / "toy-quick.yaml").write_text(text("recipe", RECIPE).replace("HEAD", head))
        (tmp_path / "README.md").write_text(text("readme", README))
        known = (("loss", "plain"), ("head", "own"))
        monkeypatch.setitem(KNOWN_PLUGINS, "fashreg-toy", known if fault.get("known", True) else ())

        class Suite(PluginContract):
            plugin, module = "fashreg-toy", "fashreg_toy"
            components = frozenset(fault.get("components", known))
            recipes = fault.get("recipes", {"toy-quick": ()})
            readme = tmp_path / "README.md"

        return Suite

    yield make
    installed.scan.cache_clear()


def failing(suite: type[PluginContract], request: pytest.FixtureRequest, only: str, tmp_path: Path) -> set[str]:
    """Names of the suite's tests with `only` in them that fail."""
    failed = set()
    for name, test in inspect.getmembers(suite, inspect.isfunction):
        if not name.startswith("test_") or only not in name:
            continue
        wanted = list(inspect.signature(test).parameters)[1:]
        several = {"component": sorted(suite.components), "recipe": sorted(suite.recipes)}
        (which,) = [name for name in wanted if name in several] or [""]
        for value in several.get(which, [None]):
            with pytest.MonkeyPatch.context() as patch:
                given = {which: value, "monkeypatch": patch, "tmp_path": tmp_path / name}
                arguments = {n: given[n] if n in given else request.getfixturevalue(n) for n in wanted}
                if fails(test, suite(), **arguments):
                    failed.add(name)
    return failed


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    assert run(["data", "atelier", "--out", str(folder), *DRAWN]) == 0
    return folder


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.replace(" ", "-"))
def test_the_contract_notices(fault: str, plugin: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    changes, noticed_by = FAULTS[fault]
    (found,) = failing(plugin(**changes), request, noticed_by, tmp_path)
    assert noticed_by in found


@pytest.mark.parametrize("head", ["projection", "own"])
def test_the_contract_finds_nothing_wrong_with_the_plugin_the_faults_were_seeded_into(
    head: str, plugin: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert failing(plugin(head), request, "", tmp_path) == set()


def test_every_test_of_the_contract_notices_some_fault() -> None:
    tests = [name for name in vars(PluginContract) if name.startswith("test_")]
    noticing = {noticed_by for _, noticed_by in FAULTS.values()}
    assert all(any(part in name for part in noticing) for name in tests)

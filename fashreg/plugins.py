"""Hooks of installed plugins through pluggy. Modules are loaded only when a job asks; a broken one is kept apart."""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pluggy

from fashreg import hookspecs, registry
from fashreg.errors import RecipeError


@dataclass
class Hooks:
    """The plugin manager, and what could not be loaded: (plugin, version) -> cause."""

    manager: pluggy.PluginManager
    broken: dict[tuple[str, str], str] = field(default_factory=dict)


def hooks() -> Hooks:
    """All hook modules of the seen plugins, loaded one by one; one that fails is reported and the rest work."""
    return _load(registry.plugin_modules(), tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _load(modules: tuple[registry.Entry, ...], path: tuple[str, ...]) -> Hooks:
    found = Hooks(pluggy.PluginManager("fashreg"))
    found.manager.add_hookspecs(hookspecs)
    for entry in modules:
        key = (entry.plugin, entry.version)
        if entry.problem:
            found.broken[key] = entry.problem
            continue
        try:
            module = importlib.import_module(entry.target.partition(":")[0])
            found.manager.register(module, name=f"{entry.plugin}:{entry.name}")
            found.manager.check_pending()
        except (Exception, SystemExit) as error:  # any failure is that plugin's own
            found.broken[key] = f"{type(error).__name__}: {error}"
            if found.manager.has_plugin(f"{entry.plugin}:{entry.name}"):
                found.manager.unregister(name=f"{entry.plugin}:{entry.name}")
    return found


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe that the core or a plugin ships."""

    name: str
    plugin: str
    path: Path


def shipped_recipes() -> tuple[ShippedRecipe, ...]:
    """Every recipe of the core and of the seen plugins, sorted by name."""
    core = Path(__file__).parent / "recipes"
    found = [ShippedRecipe(p.stem, registry.CORE, p) for p in core.glob("*.yaml")]
    loaded = hooks()
    for plugin_name, module in loaded.manager.list_name_plugin():
        plugin = plugin_name.rpartition(":")[0]
        implementation = getattr(module, "fashreg_recipes", None)
        if implementation is None:
            continue
        try:
            found += [ShippedRecipe(str(n), plugin, Path(p)) for n, p in dict(implementation()).items()]
        except Exception as error:  # a plugin's hook may fail in any way; its recipes are lost, no others
            loaded.broken[(plugin, "")] = f"fashreg_recipes: {type(error).__name__}: {error}"
    return tuple(sorted(found, key=lambda r: (r.name, r.plugin)))


def find_recipe(name: str) -> ShippedRecipe:
    """The shipped recipe of that name (bare or `plugin:name`). Raises RecipeError saying what there is."""
    from fashreg.component import nearest

    plugin, _, bare = name.rpartition(":")
    recipes = shipped_recipes()
    found = [r for r in recipes if r.name == bare and (not plugin or r.plugin == registry.canonical(plugin))]
    if len(found) == 1:
        return found[0]
    if found:
        spellings = ", ".join(f"{r.plugin}:{r.name}" for r in found)
        raise RecipeError(f"recipe {name!r} is shipped by several plugins; write one of: {spellings}")
    near = nearest(bare, (r.name for r in recipes))
    hint = f"did you mean {near[0]!r}?" if near else f"shipped recipes: {', '.join(r.name for r in recipes) or 'none'}"
    raise RecipeError(f"no recipe file or shipped recipe {name!r}; {hint} (`fashreg recipes` lists them)")

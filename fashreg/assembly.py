"""From names to objects and back: `build` makes a component, `spec_of` says how to make it again."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fashreg import registry
from fashreg.component import BULK_FACTS, Option, checked_options, options_of
from fashreg.config import ComponentConfig, Recipe
from fashreg.errors import ComponentError, FashregError, OptionError, RecipeError

_teller: ContextVar[str] = ContextVar("teller", default="")

#: How a component may be named: registered name, {name, **options}, what spec_of gives, a class, or a ready object.
Spec = Any


def build(kind: str, spec: Spec, /, *, facts: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """One component of that kind.

    spec: a registered name ("xbm", "fashreg:xbm"), a mapping {name, **options}, a `spec_of` result, a class, or a
    ready object (returned as it is; options are then refused). options: constructor options, checked strictly; they
    override those in spec. facts: values for the constructor parameters listed in `fashreg.component.RUN_FACTS`;
    used only where the class has such a parameter and no option gave it.
    Raises UnknownComponentError, AmbiguousNameError, PluginError, or OptionError naming the nearest option.
    """
    if _is_ready(spec):
        if options:
            raise OptionError(f"{kind} {type(spec).__name__} is already made; options {sorted(options)} cannot apply")
        return spec
    cls, given, label = _class_and_options(kind, spec)
    given = checked_options(cls, _within_reach(cls, {**given, **options}, kind, label), where=label)
    facts = dict(facts or {})
    arguments: dict[str, Any] = {}
    for option in options_of(cls):
        if option.name in given:
            arguments[option.name] = _nested(option, given[option.name], facts)
        elif option.fact and option.name in facts:
            arguments[option.name] = facts[option.name]
        elif option.default is inspect.Parameter.empty:
            raise OptionError(f"{label} needs {option.name} ({option.meaning or option.type_text})", field=option.name)
    try:
        return cls(**arguments)
    except FashregError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise OptionError(f"{label}: {error}") from error


@contextlib.contextmanager
def told_by(folder: str | Path) -> Iterator[None]:
    """Within the block, components are built from what a folder says, which may be a stranger's.

    A class may name in `reaches` its options that reach outside of this process (an address, a file, a variable of the
    environment), each with the value that reaches nowhere. A folder cannot set these to anything else, unless the
    environment variable FASHREG_REACH lists that value (several: with commas; one that ends in * stands for all that
    begin so). An option that it leaves out reaches nowhere, too.
    """
    token = _teller.set(str(folder))
    try:
        yield
    finally:
        _teller.reset(token)


def spec_of(component: Any, *, registered: bool = True, reaching: bool = True) -> dict[str, Any]:
    """{"name", "plugin", "version", "config"} of a component, plain JSON; build(kind, spec_of(x)) makes an equal one.

    config holds every constructor parameter (facts included, unless as long as the data). registered: False allows a
    class that no installed distribution offers; its name is then "unregistered:<class>" and it cannot be built again.
    reaching: False writes options that reach outside (`told_by`) as reaching nowhere, as a folder must have them; only
    `weights` of the component itself stays, as a word on where it came from.
    """
    cls: type = type(component)
    nowhere: Mapping[str, Any] = {} if reaching else getattr(cls, "reaches", {})
    entry = registry.entry_of(cls)
    if entry is None and registered:
        raise ComponentError(
            f"{cls.__qualname__} is not offered by any installed plugin, so a saved model could not name it; add the "
            f'entry point [project.entry-points."fashreg.<kind>"] my-name = "{cls.__module__}:{cls.__qualname__}" '
            "to its package and pip install it"
        )
    config = {}
    for option in options_of(cls):
        if option.name in BULK_FACTS:
            continue
        if not hasattr(component, option.name):
            raise ComponentError(
                f"{cls.__qualname__} does not keep its constructor parameter {option.name!r} as an attribute, so its "
                "spec is unknown; write self." + f"{option.name} = {option.name}"
            )
        value = nowhere.get(option.name, getattr(component, option.name))
        config[option.name] = _plain(option, value, cls, registered, reaching)
    if entry is None:
        return {"name": f"unregistered:{cls.__qualname__}", "plugin": "", "version": "", "config": config}
    return {"name": entry.name, "plugin": entry.plugin, "version": entry.version, "config": config}


def check_recipe(recipe: Recipe, *, replaced: frozenset[str] = frozenset()) -> None:
    """Find every component that the recipe names and check its options, before anything is built or read.

    replaced: fields for which ready objects were given. Raises OptionError or a LookupError naming the field.
    """
    for field, kind, config in components_of(recipe):
        if field.partition(".")[0] in replaced:
            continue
        _check_named(field, kind, config)


def _check_named(field: str, kind: str, spec: Spec) -> None:
    """One component and those among its options, as the recipe names them."""
    try:
        cls, given, label = _class_and_options(kind, spec)
        given = checked_options(cls, given, where=label)
    except OptionError as error:
        raise RecipeError(f"{field}: {error}", field=f"{field}.{error.field}" if error.field else field) from error
    for option in options_of(cls):
        if option.component and given.get(option.name) is not None:
            value = given[option.name]
            several = dict(enumerate(value)) if option.many == "list" else value if option.many == "dict" else None
            for key, part in ({"": value} if several is None else several).items():
                if not _is_ready(part):
                    place = f"{field}.{option.name}" + (f".{key}" if several is not None else "")
                    _check_named(place, option.component, part)


def components_of(recipe: Recipe) -> list[tuple[str, str, ComponentConfig]]:
    """(field, kind, component) of every component a recipe names."""
    single = ("backbone", "head", "loss", "memory", "sampler", "learner", "index")
    found = [(field, field, getattr(recipe, field)) for field in single if getattr(recipe, field) is not None]
    found += [(f"evaluators.{i}", "evaluator", e) for i, e in enumerate(recipe.evaluators)]
    for name, task in (recipe.tasks or {}).items():
        own = [(f"tasks.{name}.{kind}", kind, getattr(task, kind)) for kind in ("sampler", "evaluator")]
        found += [one for one in own if one[2] is not None]
    return found + [(f"rerankers.{i}", "reranker", r) for i, r in enumerate(recipe.rerankers)]


def _is_ready(spec: Spec) -> bool:
    return not isinstance(spec, str | Mapping | ComponentConfig | type | list | tuple | int | float)


def _class_and_options(kind: str, spec: Spec) -> tuple[type, dict[str, Any], str]:
    if isinstance(spec, type):
        return spec, {}, f"{kind} {spec.__qualname__}"
    if isinstance(spec, Mapping) and "config" in spec and set(spec) <= {"name", "plugin", "version", "config"}:
        name, options = str(spec["name"]), dict(spec["config"])
        if spec.get("plugin") and ":" not in name:
            name = f"{spec['plugin']}:{name}"
    else:
        config = spec if isinstance(spec, ComponentConfig) else _read(kind, spec)
        name, options = config.name, dict(config.options)
    return registry.find_class(kind, name), options, f'{kind} "{name}"'


def _within_reach(cls: type, given: dict[str, Any], kind: str, label: str) -> dict[str, Any]:
    """The options that were given, if a folder may give them. `weights` of a backbone reach outside, in any class."""
    folder = _teller.get()
    if not folder:
        return given
    loads = kind == "backbone" and any(option.name == "weights" for option in options_of(cls))
    reaches = {**({"weights": None} if loads else {}), **getattr(cls, "reaches", {})}
    for name, nowhere in reaches.items():
        value = given.get(name, nowhere)
        asked = [str(one) for one in (value.values() if isinstance(value, Mapping) else [value])]
        if value != nowhere and not all(map(_allowed, asked)):
            raise OptionError(
                f"{folder} would have {label} reach {name}={value!r:.200}, outside of itself, which no folder may "
                "decide; if you know it and trust it, set the environment variable FASHREG_REACH="
                f"{','.join(asked):.200}",
                field=name,
            )
    return {**reaches, **given}


def _allowed(value: str) -> bool:
    """Whether the person at this machine lets folders reach this."""
    entries = [entry.strip() for entry in os.environ.get("FASHREG_REACH", "").split(",")]
    begun = [entry[:-1] for entry in entries if len(entry) > 1 and entry.endswith("*") and ".." not in value]
    return value in entries or any(value.startswith(entry) for entry in begun)


def _read(kind: str, spec: Any) -> ComponentConfig:
    try:
        return ComponentConfig.model_validate(spec)
    except ValidationError as error:
        raise OptionError(f"{kind}: {error.errors()[0]['msg'].removeprefix('Value error, ')}", field=kind) from None


def _nested(option: Option, value: Any, facts: Mapping[str, Any]) -> Any:
    if not option.component or value is None:
        return value
    if option.many == "list":
        return [build(option.component, item, facts=facts) for item in value]
    if option.many == "dict":
        return {key: build(option.component, item, facts=facts) for key, item in value.items()}
    return build(option.component, value, facts=facts)


def _plain(option: Option, value: Any, cls: type, registered: bool, reaching: bool) -> Any:
    if option.component and value is not None:

        def nested(item: Any) -> dict[str, Any]:
            spec = spec_of(item, registered=registered, reaching=reaching)
            if not reaching and option.component == "backbone" and "weights" in spec["config"]:
                spec["config"]["weights"] = None
            return spec

        if option.many == "list":
            return [nested(item) for item in value]
        if option.many == "dict":
            return {key: nested(item) for key, item in value.items()}
        return nested(value)
    try:
        return json.loads(json.dumps(value, default=_as_json, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ComponentError(
            f"{cls.__qualname__}.{option.name} = {value!r} cannot be written as JSON: {error}"
        ) from None


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not plain data")

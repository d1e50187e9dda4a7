"""What a model needs that is not installed here, said in one line with what to type, before any weight is looked at.

A component belongs to a plugin, and config.json says which release of it made the model. The rule: a plugin (and
fashreg itself) reads the models of its own and of every earlier release series (0.3, 1.2); a series that is older than
the one that made the model is refused. A later series may drop an option; then the component's own check says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from fashreg import __version__, registry
from fashreg.catalog import KNOWN_PLUGINS
from fashreg.component import checked_options
from fashreg.errors import ModelError, OptionError, RequirementError
from fashreg.storage.model_config import ComponentSpec, ModelConfig

_SPEC = {"name", "plugin", "version", "config"}


@dataclass(frozen=True, slots=True)
class _Need:
    """One thing that is missing. requirement: what pip would be asked for. known: whether its name may be repeated."""

    text: str
    requirement: str
    known: bool


def check_requirements(config: ModelConfig, *, where: str) -> None:
    """Raise RequirementError unless every component of the model is installed and new enough.

    where: what the message calls the model. All that is missing is said at once. Then the options of each component are
    checked against its constructor: OptionError names the option, and the release that wrote it.
    """
    parts = {"backbone": config.backbone, "head": config.head}
    needs: dict[str, _Need] = {}
    for kind, spec in parts.items():
        for found in _needs_of(kind, spec):
            needs.setdefault(found.requirement, found)
    if needs:
        raise _unmet(where, list(needs.values()))
    for kind, spec in parts.items():
        _check_options(kind, spec, where)


def _needs_of(kind: str | None, spec: ComponentSpec) -> Iterator[_Need]:
    """What is missing for a component and for those within its options. kind: None where it is not known."""
    offered = registry.entries(kind)
    entry = next((e for e in offered if (e.name, e.plugin) == (spec.name, spec.plugin)), None)
    if (found := _need(kind or "component", spec, entry)) is not None:
        yield found
    elif entry is None and kind is not None:
        registry.find(kind, f"{spec.plugin}:{spec.name}")  # says what is near
    for inner in _nested(spec.config):
        yield from _needs_of(None, inner)


def _need(kind: str, spec: ComponentSpec, entry: registry.Entry | None) -> _Need | None:
    """What is missing for one component, None where no other release would help."""
    plugin, version, installed = spec.plugin, spec.version, _installed(spec.plugin)
    known = plugin == registry.CORE or plugin in KNOWN_PLUGINS or installed is not None
    requirement = f"{plugin}>={_least(version)}" if _release(version) else plugin
    made = f"{kind} {spec.name!r} of {plugin} {version}".rstrip()
    if installed is None:
        return _Need(f"{made}, which is not installed", requirement, known)
    mine, theirs = _release(installed), _release(version)
    if mine and theirs[:2] > mine[:2]:
        return _Need(f"{made}, and {installed} is installed", requirement, known)
    if entry is None and theirs > mine:
        return _Need(f"{made}, and {installed}, which is installed, has no such {kind}", f"{plugin}>={version}", known)
    if entry is not None and entry.problem:
        return _Need(f"{made}, which cannot be used: {entry.problem}", requirement, known)
    return None


def _unmet(where: str, needs: list[_Need]) -> RequirementError:
    said = "; ".join(need.text for need in needs)
    wanted = tuple(need.requirement for need in needs)
    what = " ".join(f"'{requirement}'" if ">" in requirement else requirement for requirement in wanted)
    hint = f": pip install --upgrade {what}"
    if strangers := sorted(need.requirement.partition(">")[0] for need in needs if not need.known):
        hint += f" (fashreg does not know {', '.join(strangers)}: look who publishes it first)"
    if (narrowed := os.environ.get("FASHREG_PLUGINS")) is not None:
        hint += f" (FASHREG_PLUGINS={narrowed!r} narrows what is seen)"
    return RequirementError(f"{where} needs {said}{hint}", needs=wanted)


def _check_options(kind: str, spec: ComponentSpec, where: str) -> None:
    entry = registry.find(kind, f"{spec.plugin}:{spec.name}")
    try:
        checked_options(registry.load(entry), spec.config, where=f'{kind} "{spec.plugin}:{spec.name}"')
    except OptionError as error:
        if entry.version == spec.version:
            raise
        raise OptionError(
            f"{where} was made with {spec.plugin} {spec.version}, and {entry.version} is installed, which reads it no "
            f"more: {error}; pip install '{spec.plugin}=={_least(spec.version)}.*' brings the old one",
            field=error.field,
        ) from error


def _nested(config: Any) -> Iterator[ComponentSpec]:
    """The outermost specs of components within a component's options."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping) and set(value) == _SPEC:
            try:
                yield ComponentSpec.model_validate(value)
            except ValidationError as error:
                raise ModelError(
                    f"a component within a component is not described as one: {error.errors()[0]}"
                ) from None
        elif isinstance(value, Mapping | list):
            waiting += value.values() if isinstance(value, Mapping) else value


def _installed(plugin: str) -> str | None:
    """The version of a plugin that offers any component here, as it is seen."""
    if plugin == registry.CORE:
        return __version__
    return next((e.version for e in registry.entries() if e.plugin == plugin), None)


def _release(version: str) -> tuple[int, ...]:
    """(0, 3, 1) of 0.3.1; () for what is no version, which is then not compared."""
    try:
        return Version(version).release
    except InvalidVersion:
        return ()


def _least(version: str) -> str:
    """The first of the release series: 0.3 of 0.3.1."""
    return ".".join(map(str, (*_release(version), 0)[:2]))

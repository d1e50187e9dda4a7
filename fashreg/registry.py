"""Finding components by name. Reads metadata only: nothing of a plugin is imported until it is built or shown.

Two plugins with one name: the bare name is refused, `plugin:name` works.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from fashreg.catalog import known_names, who_brings
from fashreg.errors import AmbiguousNameError, ComponentError, PluginError, UnknownComponentError
from fashreg.installed import CORE, Entry, canonical, scan
from fashreg.interfaces import KINDS

__all__ = [
    "CORE",
    "Entry",
    "canonical",
    "entries",
    "entry_of",
    "find",
    "find_class",
    "load",
    "only",
    "plugin_modules",
]
_narrowed: contextvars.ContextVar[frozenset[str] | None] = contextvars.ContextVar("narrowed", default=None)


def entries(kind: str | None = None) -> tuple[Entry, ...]:
    """All components that are seen, sorted by kind, name, plugin. Imports no plugin.

    kind: one of the kinds, None for all. Seen: every installed distribution, narrowed by FASHREG_PLUGINS and `only`.
    """
    if kind is not None:
        _check_kind(kind)
    allowed = _allowed()
    return tuple(
        e
        for e in scan(tuple(sys.path))
        if (kind is None or e.kind == kind) and (allowed is None or e.plugin == CORE or e.plugin in allowed)
    )


def plugin_modules() -> tuple[Entry, ...]:
    """The hook modules that seen distributions offer (entry-point group `fashreg`)."""
    allowed = _allowed()
    found = scan(tuple(sys.path), group="fashreg")
    return tuple(e for e in found if allowed is None or e.plugin == CORE or e.plugin in allowed)


def find(kind: str, name: str) -> Entry:
    """The one component of that kind and name (bare, or qualified as `plugin:name`).

    Raises UnknownComponentError with near names and what to install, AmbiguousNameError listing the qualified
    spellings, or PluginError when the only one of that name cannot work with this core.
    """
    plugin, _, bare = name.rpartition(":")
    found = [e for e in entries(kind) if e.name == bare and (not plugin or e.plugin == canonical(plugin))]
    if not found:
        raise _unknown(kind, name)
    if len(found) > 1:
        choices = tuple(e.qualified for e in found)
        raise AmbiguousNameError(
            f"{kind} {name!r} is offered by {len(found)} plugins; write one of: {', '.join(choices)}",
            kind=kind,
            name=name,
            choices=choices,
        )
    return found[0]


def load(entry: Entry) -> type:
    """Import the class of a component. Raises PluginError naming plugin, version and cause; others stay usable."""
    label = f"{entry.kind} {entry.name!r} of {entry.plugin} {entry.version}"
    if entry.problem:
        raise PluginError(f"{label} cannot be used: {entry.problem}", plugin=entry.plugin, version=entry.version)
    module_name, _, attribute = entry.target.partition(":")
    try:
        value: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; only this component is lost
        raise PluginError(
            f"{label} does not import: {type(error).__name__}: {error}; try `fashreg doctor`, then reinstall or "
            f"remove it (pip uninstall {entry.plugin})",
            plugin=entry.plugin,
            version=entry.version,
        ) from error
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, type):
        raise PluginError(
            f"{label} names {entry.target!r}, but {module_name} has no class {attribute!r}; its author must mend the "
            "entry point",
            plugin=entry.plugin,
            version=entry.version,
        )
    return value


def find_class(kind: str, name: str) -> type:
    """find and load in one."""
    return load(find(kind, name))


def entry_of(cls: type) -> Entry | None:
    """The entry that offers this class, or None when no installed distribution does."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    return next((e for e in entries() if e.target == target), None)


@contextlib.contextmanager
def only(plugins: Iterable[str] | None) -> Iterator[None]:
    """Within the block, only these distributions (and the core) are seen; None changes nothing."""
    if plugins is None:
        yield
        return
    names = frozenset(canonical(p) for p in plugins)
    installed = {e.plugin for e in (*scan(tuple(sys.path)), *scan(tuple(sys.path), group="fashreg"))}
    missing = sorted(names - installed - {CORE})
    if missing:
        raise ComponentError(
            f"plugins asked for but not installed: {', '.join(missing)}; install with: pip install {' '.join(missing)}"
        )
    token = _narrowed.set(names)
    try:
        yield
    finally:
        _narrowed.reset(token)


def _allowed() -> frozenset[str] | None:
    """The distributions that may be seen, None for all: the narrower of FASHREG_PLUGINS and `only`."""
    text = os.environ.get("FASHREG_PLUGINS")
    by_env = None if text is None else frozenset(canonical(p.strip()) for p in text.split(",") if p.strip())
    by_block = _narrowed.get()
    if by_env is None or by_block is None:
        return by_env if by_block is None else by_block
    return by_env & by_block


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"kinds are {', '.join(KINDS)}"
        raise UnknownComponentError(f"no kind {kind!r}; {hint}", kind=kind, name="", near=tuple(near))


def _unknown(kind: str, name: str) -> UnknownComponentError:
    here = sorted({e.name for e in entries(kind)})
    bare = name.rpartition(":")[2]
    text = f"no {kind} named {name!r}"
    installable = who_brings(bare, kind)
    elsewhere = [e for e in entries() if e.name == bare and e.kind != kind]
    near = tuple(get_close_matches(bare.replace("_", "-"), here, n=3, cutoff=0.6))
    if installable:
        plugin, other_kind, _ = installable[0]
        what = "" if other_kind == kind else f" ({other_kind})"
        text += f"; plugin {plugin} brings {bare!r}{what} and is not installed: pip install {plugin}"
    elif near:
        text += f"; did you mean {near[0]!r}?"
    elif close := get_close_matches(bare, known_names(kind), n=1):
        plugin = who_brings(close[0], kind)[0][0]
        text += f"; did you mean {close[0]!r} from plugin {plugin}, not installed: pip install {plugin}"
    elif elsewhere:
        text += f"; {bare!r} is a {elsewhere[0].kind} of {elsewhere[0].plugin}"
    else:
        text += f"; there are: {', '.join(here) or 'none'}"
    if os.environ.get("FASHREG_PLUGINS") is not None:
        text += f" (FASHREG_PLUGINS={os.environ['FASHREG_PLUGINS']!r} narrows what is seen)"
    return UnknownComponentError(text, kind=kind, name=name, near=near)

"""What the installed distributions offer, by their metadata: nothing of a plugin is imported.

One entry-point group per kind, `fashreg.<kind>`; built-ins are entry points of the core's own distribution. A plugin's
`Requires-Dist: fashreg` is its API check.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

from fashreg.interfaces import KINDS

CORE = "fashreg"


@dataclass(frozen=True, slots=True)
class Entry:
    """One component that an installed distribution offers. problem: why it cannot be used, "" when nothing is known."""

    kind: str
    name: str
    plugin: str
    version: str
    target: str
    problem: str = ""

    @property
    def qualified(self) -> str:
        """The spelling that is never ambiguous."""
        return f"{self.plugin}:{self.name}"


def canonical(distribution: str) -> str:
    """A distribution's name as packaging normalises it: lower case, runs of -_. as one dash."""
    return "-".join(distribution.lower().replace("_", "-").replace(".", "-").split("-"))


@functools.lru_cache(maxsize=8)
def scan(path: tuple[str, ...], group: str = "") -> tuple[Entry, ...]:
    """All entries of the distributions on `path` (the first of two equal distributions counts, as for imports)."""
    seen: set[str] = set()
    found: list[Entry] = []
    for dist in distributions(path=list(path)):
        try:
            text = dist.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue
        if "[fashreg" not in text:
            continue
        plugin = canonical(dist.metadata["Name"] or "")
        if plugin and plugin not in seen:
            seen.add(plugin)
            found += _entries_of(dist, plugin, text, group)
    return tuple(sorted(found, key=lambda e: (list(KINDS).index(e.kind) if e.kind in KINDS else -1, e.name, e.plugin)))


def _entries_of(dist: Distribution, plugin: str, text: str, group: str) -> Iterator[Entry]:
    problem = "" if plugin == CORE else _range_problem(dist)
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif line and not line.startswith(("#", ";")) and "=" in line:
            name, _, target = (part.strip() for part in line.partition("="))
            kind = section.removeprefix("fashreg.")
            if (section == group == "fashreg") or (not group and section.startswith("fashreg.")):
                wrong = problem
                if not wrong and not group and kind not in KINDS:
                    wrong = f"there is no kind {kind!r} in this core"
                module, colon, attribute = target.partition(":")
                if not wrong and not (module.replace(".", "").isidentifier() and (group or (colon and attribute))):
                    wrong = f"its entry point {target!r} is not of the form package.module:Class"
                yield Entry(kind, name, plugin, dist.version, target, wrong)


def _range_problem(dist: Distribution) -> str:
    """Why the plugin's declared range of fashreg does not admit this core, "" when it does."""
    from packaging.requirements import InvalidRequirement, Requirement

    from fashreg import __version__

    for text in dist.requires or ():
        if not text.lower().startswith(CORE):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read"
        if canonical(requirement.name) != CORE or (requirement.marker and not requirement.marker.evaluate()):
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            return (
                f"it needs fashreg {requirement.specifier}, this is {__version__}; install a release of it that fits: "
                f"pip install --upgrade {dist.metadata['Name']}"
            )
    return ""

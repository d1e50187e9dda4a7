"""Where a pulled folder came from, kept in it as `origin.json`. It is provenance: never pushed, never believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fashreg.errors import ModelError
from fashreg.strict_json import read_json, write_json

ORIGIN = "origin.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """A repository at a commit. revision: the branch, tag or commit that was asked for. endpoint: whose Hub."""

    repo: str
    commit: str
    revision: str = "main"
    endpoint: str = ""

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"


def write_origin(folder: Path, origin: Origin) -> None:
    """Write `origin.json`, before the manifest lists it."""
    said = {"repo": origin.repo, "revision": origin.revision, "commit": origin.commit, "endpoint": origin.endpoint}
    write_json(folder / ORIGIN, said)


def read_origin(folder: Path) -> Origin | None:
    """Where a folder came from; None for one that was made here, or that does not say it properly."""
    try:
        said = read_json(folder / ORIGIN, max_bytes=10_000)
        found = Origin(said["repo"], said["commit"], said["revision"], said["endpoint"])
    except (ModelError, KeyError, TypeError):
        return None
    texts = (found.repo, found.commit, found.revision, found.endpoint)
    return found if all(isinstance(text, str) and text.isprintable() for text in texts) else None

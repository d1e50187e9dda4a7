"""What a push will send: fashreg folders in their places, held against their manifests. No network.

Everything in a parcel is either listed in a manifest and of a sort that fashreg writes, or was asked for by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fashreg.errors import ModelError
from fashreg.hub.fetch import CARD
from fashreg.hub.file_check import is_pickle, not_ours
from fashreg.hub.origin import ORIGIN
from fashreg.hub.snapshot import hashed
from fashreg.manifest import MANIFEST, FileRecord, Manifest, checked_name, manifest_content, read_manifest
from fashreg.strict_json import json_text

#: Kind of folder -> its place in a repository.
PLACES = {"model": "", "index": "index", "evaluation": "evaluation"}
_IN_MEMORY = 2**20


@dataclass(frozen=True)
class Content:
    """One file to be sent: a path, or (small ones) its bytes. git_sha1: how git names it; "" for large ones."""

    source: Path | bytes = field(repr=False)
    record: FileRecord
    git_sha1: str


@dataclass
class Part:
    """One fashreg folder at its place ("" = the root) in the repository; `files` by name relative to that place."""

    place: str
    kind: str
    files: dict[str, Content]

    def replace_text(self, name: str, text: str) -> None:
        """Give a file another text, of which `sealed` makes the manifest."""
        self.files[name] = content_of(text.encode("utf-8", "surrogateescape"))

    def text_of(self, name: str) -> str:
        """The text of a file; bytes that are no UTF-8 come out as they went in."""
        source = self.files[name].source
        raw = source if isinstance(source, bytes) else source.read_bytes()
        return raw.decode("utf-8", "surrogateescape")

    def sealed(self) -> dict[str, Content]:
        """All files and the manifest, by path from the repository's root."""
        listed = manifest_content(self.kind, {name: content.record for name, content in self.files.items()})
        manifest = content_of(json_text(listed).encode("utf-8"))
        return {self.at(name): content for name, content in {**self.files, MANIFEST: manifest}.items()}

    def at(self, name: str) -> str:
        """The path of a file of this part, from the repository's root."""
        return f"{self.place}/{name}" if self.place else name


@dataclass
class Parcel:
    """What will be sent, by path from the repository's root: fashreg folders, and what a person asked for by name.

    asked: all paths that were asked for by name, those that are part of a folder too.
    """

    parts: list[Part] = field(default_factory=list)
    included: dict[str, Content] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def contents(self) -> dict[str, Content]:
        """Every file, by path from the repository's root."""
        return {**self.included, **{path: c for part in self.parts for path, c in part.sealed().items()}}


def pack(folder: Path, *, part: str | None = None, include: Iterable[str] = ()) -> Parcel:
    """The parcel of a model, index or evaluation folder; of a run: its model and, where there are any, evaluations; one
    of several tasks, `evaluation-TASK`, goes to a place of that name. Of a folder of several indexes: each at
    `index/NAME`.

    part: another place in the repository than the usual one of that kind. include: files to be sent although fashreg
    did not write them, by name relative to `folder`. Raises ModelError for a folder that is damaged, and for anything
    in it that is not ours.
    """
    asked = {checked_name(name, where="--include") for name in include}
    missing = sorted(name for name in asked if not (folder / name).is_file())
    if missing:
        raise ModelError(f"{folder} holds no file {missing[0]}, which --include asks for")
    parcel, inner = Parcel(), _inner(folder, part)
    if not inner:
        _add(parcel, folder, part, asked, "")
        return parcel
    for name, place in inner.items():
        mine = {n.removeprefix(f"{name}/") for n in asked if n.startswith(f"{name}/")}
        _add(parcel, folder / name, place, mine, f"{name}/")
    beside = {n: _read(folder / n) for n in asked if n.split("/")[0] not in inner}
    parcel.included |= beside
    parcel.asked |= set(beside)
    return parcel


def _inner(folder: Path, part: str | None) -> dict[str, str | None]:
    """The fashreg folders in a run, or in a folder of indexes alone, with their places where not their kind's own."""
    if (folder / MANIFEST).is_file():
        return {}
    if (folder / "model" / MANIFEST).is_file():
        if part is not None:
            raise ModelError(f"{folder} is a run, and part says where one folder goes: push {folder / 'model'}")
        of_tasks = sorted(path.name for path in folder.glob("evaluation-*"))
        names = [name for name in ("model", "evaluation", *of_tasks) if (folder / name / MANIFEST).is_file()]
        return {name: name if name in of_tasks else None for name in names}
    within = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not all((path / name).is_file() for path in within for name in (MANIFEST, "index.json")):
        return {}
    return {path.name: f"{part or PLACES['index']}/{path.name}" for path in within}


def content_of(raw: bytes) -> Content:
    """Content of which the bytes are at hand."""
    git = hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()
    return Content(raw, FileRecord(len(raw), hashlib.sha256(raw).hexdigest()), git)


def _add(parcel: Parcel, folder: Path, part: str | None, asked: Collection[str], prefix: str) -> None:
    """Put one fashreg folder into the parcel. prefix: how --include spells a file of this folder."""
    manifest = read_manifest(folder)
    if part is None and manifest.kind not in PLACES:
        raise ModelError(f"{folder} is a folder of kind {manifest.kind!r}; pushed can be: {', '.join(PLACES)}, a run")
    place = PLACES[manifest.kind] if part is None else part and checked_name(part, where="part")
    _refuse_strangers(manifest, asked, prefix)
    made = Part(place, manifest.kind, {n: _checked(manifest, n) for n in manifest.files if n != ORIGIN})
    for name in made.files:
        if name not in asked and (why := not_ours(folder / name)):
            raise ModelError(f"{folder / name} {why}; it is not pushed unless by name: --include {prefix}{name}")
    parcel.parts.append(made)
    parcel.asked |= {made.at(name) for name in asked}
    parcel.included |= {made.at(n): _read(folder / n) for n in asked if n not in made.files and n != MANIFEST}


def _checked(manifest: Manifest, name: str) -> Content:
    """The content of a listed file: as it was written, except that people may have edited README.md."""
    path, record = manifest.path(name), manifest.files[name]
    if not path.is_file():
        raise ModelError(f"{path} is missing, though {MANIFEST} lists it")
    found = _read(path)
    if found.record != record and name != CARD:
        raise ModelError(f"{path} was changed after it was written: its sha256 is not the one in {MANIFEST}")
    return found


def _read(path: Path) -> Content:
    if path.stat().st_size <= _IN_MEMORY:
        return content_of(path.read_bytes())
    record, git = hashed(path, git=True)
    return Content(path, record, git)


def _refuse_strangers(manifest: Manifest, asked: Collection[str], prefix: str) -> None:
    folder = manifest.folder
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    strange = sorted(present - set(manifest.files) - {MANIFEST, *asked})
    if strange:
        shown = [f"{name} (a pickle)" if is_pickle(folder / name) else name for name in strange[:3]]
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise ModelError(
            f"{folder} also holds {', '.join(shown)}{more}, which fashreg did not write: move it away, or push it by "
            f"name: --include {prefix}{strange[0]}"
        )

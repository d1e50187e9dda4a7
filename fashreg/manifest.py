"""Folders that are written whole or not at all, and a list of what they hold with the sha256 of every file. No torch.

Models, indexes and checkpoints are folders. `write_folder_atomically` builds one beside its place, writes
`manifest.json` into it last, puts everything on disk and then swaps it in by a rename: whoever is killed on the way
leaves the old folder whole. `verify_folder` reads the list back and names the first file that is missing, cut or
changed.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashreg.errors import ModelError
from fashreg.folder_lock import lock_folder
from fashreg.folder_swap import swap_in, sync_tree
from fashreg.formats import newer_format_hint
from fashreg.strict_json import read_json, write_json

MANIFEST = "manifest.json"
CARD = "README.md"  # for people, who may write into it: listed, but never held against the list
_FORMAT = "fashreg-folder/1"
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')
_LONGEST, _MOST_FILES = 512, 10_000  # bytes of a name, files of a folder


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest says of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a folder, by name relative to it, with forward slashes."""

    folder: Path
    kind: str
    files: dict[str, FileRecord]

    def path(self, name: str) -> Path:
        """The path of a file that the manifest lists; ModelError for any other."""
        self.record(name)
        return self.folder / name

    def record(self, name: str) -> FileRecord:
        """What the manifest says of a file; ModelError for one that it does not list."""
        if name not in self.files:
            raise ModelError(f"{self.folder} holds no {name}: its {MANIFEST} lists {', '.join(sorted(self.files))}")
        return self.files[name]


def checked_name(name: str, *, where: str = MANIFEST) -> str:
    """`name` if it is a plain relative path on every system (a/b.txt); ModelError otherwise.

    Refused: absolute paths, drives, backslashes, empty, `.` and `..` parts, letters that do not show (control,
    direction, no width), names that Windows reserves or cannot hold, and names of more than 512 bytes. To be asked of
    every path that was read from a file.
    """
    fits = isinstance(name, str) and name.isprintable() and len(name.encode("utf-8", "replace")) <= _LONGEST
    parts = name.split("/") if fits else []
    for part in parts or [""]:
        plain = (
            part not in ("", ".", "..") and part == part.rstrip(" .") and len(part.encode("utf-8", "replace")) <= 255
        )
        if not plain or _FORBIDDEN.search(part) or _RESERVED.fullmatch(part):
            raise ModelError(f"{where} names the file {str(name)[:80]!r}, which is not a plain path inside the folder")
    return name


def write_manifest(folder: Path, kind: str) -> Manifest:
    """List every file below `folder` in its manifest.json. kind: "model", "index", "checkpoint", ..."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
    files = {checked_name(n): _record(folder / n) for n in names if n != MANIFEST}
    _no_name_twice(folder, files)
    write_json(folder / MANIFEST, manifest_content(kind, files))
    return Manifest(folder, kind, files)


def manifest_content(kind: str, files: Mapping[str, FileRecord]) -> dict[str, Any]:
    """What manifest.json says of these files, as plain data."""
    listed = {name: {"bytes": files[name].bytes, "sha256": files[name].sha256} for name in sorted(files)}
    return {"format": _FORMAT, "kind": kind, "files": listed}


def read_manifest(folder: Path, *, kind: str | None = None) -> Manifest:
    """The manifest of a folder, its form and names checked, its files not yet. kind: what the folder must be."""
    path = Path(folder) / MANIFEST
    if not path.parent.is_dir():
        kept = sorted(path.parent.parent.glob(f".{glob.escape(path.parent.name)}.old-*"))
        hint = f"; a killed writer left the old one as {kept[-1]}: rename it back" if kept else ""
        raise ModelError(f"there is no folder {folder}{hint}")
    if not path.is_file():
        raise ModelError(f"{folder} has no {MANIFEST}: it was not written by fashreg, or writing it never ended")
    content = read_json(path)
    try:
        if content["format"] != _FORMAT:
            hint = newer_format_hint(content["format"], _FORMAT)
            raise ModelError(f"{path} has the format {content['format']!r}; this version reads {_FORMAT!r}{hint}")
        files = {checked_name(n, where=str(path)): _record_of(r) for n, r in content["files"].items()}
        found = str(content["kind"])
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{path} is not a manifest of fashreg ({type(error).__name__}: {error})") from error
    _no_name_twice(path.parent, files)
    if kind is not None and found != kind:
        raise ModelError(f"{folder} is a folder of kind {found!r}, and a {kind!r} was asked for")
    return Manifest(path.parent, found, files)


def verify_folder(folder: Path, *, kind: str | None = None, names: tuple[str, ...] | None = None) -> Manifest:
    """The manifest, after the size and sha256 of every file (or of `names`) were compared with it.

    Files that the manifest does not list are let be; `Manifest.path` never gives them out. README.md is for people, who
    may have written into it or taken it away: it is compared only if `names` asks for it.
    """
    manifest = read_manifest(folder, kind=kind)
    for name in manifest.files if names is None else names:
        if names is None and name == CARD:
            continue
        path, said = manifest.path(name), manifest.files[name]
        if not path.is_file():
            raise ModelError(f"{path} is missing, though {MANIFEST} lists it")
        if (size := path.stat().st_size) != said.bytes:
            raise ModelError(f"{path} has {size:,} bytes and {MANIFEST} says {said.bytes:,}: it is damaged")
        if _record(path).sha256 != said.sha256:
            raise ModelError(f"{path} was changed after it was written: its sha256 is not the one in {MANIFEST}")
    return manifest


@contextlib.contextmanager
def write_folder_atomically(folder: Path, *, kind: str, replace: bool = True, keep: bool = False) -> Iterator[Path]:
    """Give an empty folder to write into; on leaving, list it, put it on disk and swap it into the place of `folder`.

    Killed at any moment, or left by an exception: `folder` is what it was. Another writer at work: BusyError.
    Only an empty folder or one of the same kind that fashreg wrote, without files of anybody else's, is ever replaced.
    keep: there may be files of somebody else, which go on lying there unlisted.
    """
    target = Path(os.path.realpath(folder))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error}") from error
    with lock_folder(target):
        recover_folder(target)
        strange = check_replaceable(target, kind, replace, keep)
        fresh = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
        fresh.mkdir()
        try:
            yield fresh
            write_manifest(fresh, kind)
            for name in strange:
                place_file(target / name, fresh / name)
            sync_tree(fresh)
            swap_in(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def place_file(old: Path, new: Path) -> None:
    """The same file at another place of one disk, without copying where the file system can; a link stays a link."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(new):
        raise ModelError(f"{old} is somebody else's file, and fashreg writes one of that name: move it")
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(old, new, follow_symlinks=False)


def recover_folder(folder: Path) -> None:
    """Clear away what a killed writer left beside `folder`, and put the old folder back if it was caught mid-rename.

    To be called under `lock_folder`. (Only where the system has no atomic exchange is there such a moment.)
    """
    for old in folder.parent.glob(f".{glob.escape(folder.name)}.old-*"):
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)
    for fresh in folder.parent.glob(f".{glob.escape(folder.name)}.new-*"):
        shutil.rmtree(fresh, ignore_errors=True)


def check_replaceable(target: Path, kind: str, replace: bool = True, keep: bool = False) -> list[str]:
    """The files in `target` that are somebody else's; ModelError where it must not be replaced."""
    if not target.exists():
        return []
    if not target.is_dir():
        raise ModelError(f"{target} is a file; give the name of a folder")
    present = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir()}
    if not present:
        return []
    if not replace or MANIFEST not in present:
        why = "exists" if not replace else "holds files and was not written by fashreg"
        raise ModelError(f"{target} {why}; nothing was written: choose another folder, or empty it yourself")
    old = read_manifest(target)
    if old.kind != kind:
        raise ModelError(
            f"{target} holds the fashreg {old.kind}, which the new {kind} must not replace; choose another folder"
        )
    strange = sorted(present - set(old.files) - {MANIFEST})
    if strange and not keep:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise ModelError(
            f"{target} also holds {', '.join(strange[:3])}{more}, which replacing it would lose: move them"
        )
    return strange


def _record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(file.tell(), digest)


def _record_of(said: Any) -> FileRecord:
    size, digest = said["bytes"], said["sha256"]
    if type(size) is not int or size < 0 or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise TypeError(f"a file has the record {said!r}")
    return FileRecord(size, digest)


def _no_name_twice(folder: Path, files: dict[str, FileRecord]) -> None:
    """Refuse names that some system takes for one: by case, by composed letters, or as a file and a folder."""
    if len(files) > _MOST_FILES:
        raise ModelError(f"{folder}: {MANIFEST} lists {len(files):,} files, which no folder of fashreg holds")
    seen: set[str] = {MANIFEST}
    for name in files:
        same = unicodedata.normalize("NFC", name).casefold()
        if same in seen:
            raise ModelError(f"{folder}: two names in {MANIFEST} are one file on systems that ignore case: {name!r}")
        seen.add(same)
    for name in seen:
        for place, letter in enumerate(name):
            if letter == "/" and name[:place] in seen:
                raise ModelError(f"{folder}: {MANIFEST} names {name[:place]!r} as a file and as a folder")

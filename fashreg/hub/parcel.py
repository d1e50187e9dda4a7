"""What a push will send: fashreg folders in their places, held against their manifests. No network.

Everything a parcel holds is either listed in a manifest and of a sort that fashreg writes, or was asked for by name.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fashreg.errors import ModelError
from fashreg.manifest import MANIFEST, FileRecord, Manifest, checked_name, manifest_text, read_manifest
from fashreg.strict_json import parse_json
from fashreg.strict_tensors import read_header

#: Kind of folder -> its place in a repository.
PLACES = {"model": "", "index": "index", "evaluation": "evaluation"}
README = "README.md"
ORIGIN = "origin.json"  # where a pulled folder came from: of this machine, never sent
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".npy", ".npz", ".h5", ".msgpack")
_PICTURES = {".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n"}
_TEXTS = (".md", ".yaml", ".jsonl", ".txt")
_IN_MEMORY = 2**20


@dataclass(frozen=True)
class Content:
    """One file to be sent: a path, or (small ones) its bytes; what it holds is known by size and sha256."""

    source: Path | bytes = field(repr=False)
    bytes: int
    sha256: str

    def git_blob(self) -> str:
        """The name that git gives the content, as the Hub lists files that are not in its large file storage."""
        digest = hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)
        if isinstance(self.source, bytes):
            digest.update(self.source)
        else:
            with self.source.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        return digest.hexdigest()


@dataclass
class Part:
    """One fashreg folder at its place ("" = the root) in the repository; `files` by name relative to that place."""

    place: str
    kind: str
    files: dict[str, Content]

    def replace_text(self, name: str, text: str) -> None:
        """Give a file of the part another text, so that the manifest agrees with it."""
        self.files[name] = content_of(text.encode("utf-8"))

    def sealed(self) -> dict[str, Content]:
        """The part as it lies in the repository: all its files and its manifest, by path from the root."""
        records = {name: FileRecord(c.bytes, c.sha256) for name, c in self.files.items()}
        manifest = content_of(manifest_text(self.kind, records).encode("utf-8"))
        return {self.at(name): content for name, content in {**self.files, MANIFEST: manifest}.items()}

    def at(self, name: str) -> str:
        """Path from the repository's root."""
        return f"{self.place}/{name}" if self.place else name


@dataclass
class Parcel:
    """What will be sent, and what beside it because a person asked for it by name (by path from the root)."""

    parts: list[Part]
    included: dict[str, Content]


def pack(folder: Path, *, part: str | None = None, include: Iterable[str] = ()) -> Parcel:
    """The parcel of a model, index or evaluation folder, or of a run: its model and, where there is one, evaluation.

    part: another place in the repository than the usual one of that kind. include: files to be sent although fashreg
    did not write them, by name relative to `folder`. Raises ModelError for a folder that is damaged, and for anything
    in it that is not ours.
    """
    asked = {checked_name(name, where="--include") for name in include}
    missing = sorted(name for name in asked if not (folder / name).is_file())
    if missing:
        raise ModelError(f"{folder} holds no file {missing[0]}, which --include asks for")
    if not (folder / MANIFEST).is_file() and (folder / "model" / MANIFEST).is_file():
        if part is not None:
            raise ModelError(f"{folder} is a run; part says where one folder goes: give {folder / 'model'} to push")
        inner = [n for n in ("model", "evaluation") if (folder / n / MANIFEST).is_file()]
    else:
        inner = [""]
    parcel = Parcel([], {})
    for name in inner:
        mine = {n.removeprefix(f"{name}/") for n in asked if n.startswith(f"{name}/")} if name else asked
        _add(parcel, folder / name, part, mine)
    for name in asked if inner != [""] else ():
        if name.split("/")[0] not in inner:
            parcel.included[name] = _read(folder / name)
    return parcel


def content_of(raw: bytes) -> Content:
    """Content of which the bytes are at hand."""
    return Content(raw, len(raw), hashlib.sha256(raw).hexdigest())


def _add(parcel: Parcel, folder: Path, part: str | None, asked: Collection[str]) -> None:
    """Put one fashreg folder into the parcel."""
    manifest = read_manifest(folder)
    if part is None and manifest.kind not in PLACES:
        raise ModelError(f"{folder} is a folder of kind {manifest.kind!r}; to push are: {', '.join(PLACES)}, a run")
    place = PLACES[manifest.kind] if part is None else part and checked_name(part, where="part")
    _refuse_strangers(folder, manifest, asked)
    files = {}
    for name, record in manifest.files.items():
        if name == ORIGIN:
            continue
        files[name] = _held_against(manifest, name, record)
        if name not in asked and (why := not_ours(folder / name)):
            raise ModelError(f"{folder / name} {why}: it is not pushed; --include {name} pushes it all the same")
    made = Part(place, manifest.kind, files)
    parcel.parts.append(made)
    for name in asked:
        if name not in manifest.files and name != MANIFEST:
            parcel.included[made.at(name)] = _read(folder / name)


def _held_against(manifest: Manifest, name: str, record: FileRecord) -> Content:
    """The content of a listed file; README.md may have been edited by hand, every other one is as it was written."""
    path = manifest.path(name)
    if not path.is_file():
        raise ModelError(f"{path} is missing, though {MANIFEST} lists it")
    found = _read(path)
    if (found.bytes, found.sha256) != (record.bytes, record.sha256) and name != README:
        raise ModelError(f"{path} was changed after it was written: its sha256 is not the one in {MANIFEST}")
    return found


def _read(path: Path) -> Content:
    if path.stat().st_size <= _IN_MEMORY:
        return content_of(path.read_bytes())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Content(path, file.tell(), digest)


def _refuse_strangers(folder: Path, manifest: Manifest, asked: Collection[str]) -> None:
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    strange = sorted(present - set(manifest.files) - {MANIFEST, *asked})
    if strange:
        shown = [f"{name} (a pickle)" if is_pickle(folder / name) else name for name in strange[:3]]
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise ModelError(
            f"{folder} also holds {', '.join(shown)}{more}, which fashreg did not write; move it away, or push it by "
            f"name: --include {strange[0]}"
        )


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle or a format that carries one, by its name or by its first bytes. Nothing is opened."""
    if path.suffix.lower() in _PICKLES:
        return True
    try:
        with path.open("rb") as file:
            first = file.read(2)
        if first == b"PK":
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return len(first) == 2 and first[0] == 0x80 and first[1] <= 5


def not_ours(path: Path) -> str:
    """Why a file is none that fashreg writes, as the end of a sentence; "" for one that is."""
    sort = path.suffix.lower()
    if is_pickle(path):
        return "is a pickle, which runs code where it is read"
    try:
        if sort == ".safetensors":
            read_header(path)
        elif sort == ".json":
            parse_json(path.read_bytes())
        elif sort in _TEXTS:
            _check_text(path)
        elif sort in _PICTURES:
            with path.open("rb") as file:
                start = file.read(len(_PICTURES[sort]))
            return "" if start == _PICTURES[sort] else f"is no {sort[1:]} picture"
        else:
            return "is of a sort that fashreg does not write"
    except (ModelError, ValueError, RecursionError, json.JSONDecodeError):
        return f"does not hold what a {sort} file holds"
    return ""


def _check_text(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        while block := file.read(2**20):
            if "\0" in block:
                raise ValueError("a text without NUL was expected")

"""Manifests that lie: hostile names, sizes, digests, kinds and forms."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hostile.workshop import Hostile, Workshop, nested, pickle_of

#: Names that leave the folder on some system; those the client of the Hub is tested with are among them.
LEAVING = (
    "../x", "..", ".", "", "/etc/passwd", "//server/share", "a/../../x", "a/..", "./x", "a/./x", "a//x", "a/", "../",
    "..\\x", "..\\..\\..\\x", "a/..\\..\\..\\x", "\\x", "\\\\server\\share\\x", "a\\b", "C:\\Windows\\x", "C:x", "D:/x",
    "a/C:/x", "a/\\\\server\\x", "//?/C:/x", "\\\\?\\C:\\x", "\\\\.\\PhysicalDrive0", "file:///etc/passwd",
    "http://127.0.0.1/x", "~/x:y", "x\x00.safetensors", "x\n", "\tx", "x\x7f",
)  # fmt: skip
#: Names that some systems keep for themselves or cannot hold, or that read otherwise than they are.
STRANGE = (
    "CON", "con.json", "aux", "nul.txt", "a/COM1", "LPT9.safetensors", "com¹", "conin$", "x.", "x ", "x. .", "a./b",
    "x*", "x?", 'x"', "x<y", "x|y", "x" * 256, "ä" * 128, "/".join("a" * 200 for _ in range(30)),
    "gnp.\u202estep", "a\u200bb", "\ufeffconfig.json", "a\u2028b", "\ud800", "a\udc80", "\x1b[2Jx", "a\x85b",
)  # fmt: skip
_GOOD = "0" * 64


def _named(name: str) -> Hostile:
    return Hostile(f"name {name[:24]!a}", "model", lambda w: w.list(name, 3, _GOOD), "not a plain path|one file")


def _raw(name: str, content: bytes | str, says: str = "manifest") -> Hostile:
    return Hostile(name, "model", lambda w: w.put("manifest.json", content, listed=False), says)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _huge(w: Workshop) -> None:
    w.instead("manifest.json", lambda p: _sparse(p, 2**40))


def _twice(w: Workshop) -> None:
    text = (w.folder / "manifest.json").read_text()
    w.put("manifest.json", text.replace('"kind":', '"kind": "index", "kind":', 1), listed=False)


def _many(w: Workshop) -> None:
    record = {"bytes": 0, "sha256": _GOOD}
    w.manifest(lambda m: m["files"].update({f"{i}": record for i in range(20_000)}))


_NAME_FORMS = [
    Hostile("a name in two cases", "model", lambda w: w.put("CONFIG.json", "{}"), "one file on systems"),
    Hostile("a name in two cases, sharp s", "model",
            lambda w: (w.put("straße", "1"), w.put("STRASSE", "1")), "one file on systems"),
    Hostile("a name composed and decomposed", "model",
            lambda w: (w.put("caf\u00e9", "1"), w.put("cafe\u0301", "1")), "one file on systems"),
    Hostile("a file that is also a folder", "model", lambda w: w.list("config.json/x", 0, _GOOD), "config.json"),
    Hostile("a folder in another case than a file", "model", lambda w: w.list("Config.JSON/x", 0, _GOOD), "onfig"),
    Hostile("the manifest lists itself", "model", lambda w: w.list("manifest.json", 3, _GOOD), "manifest.json"),
    Hostile("the manifest lists itself in capitals", "model", lambda w: w.list("MANIFEST.json", 3, _GOOD), "manifest"),
    Hostile("twenty thousand files", "model", _many, "manifest.json"),
]  # fmt: skip

_LIES = [
    Hostile(f"a size of {size!r}", "model", lambda w, s=size: w.list("config.json", s, _GOOD), "manifest|config.json")
    for size in (-1, 0, True, 1.5, 10**30, "3", None, [3], {}, 2**63)
] + [
    Hostile(f"digest {number}", "model", lambda w, d=digest: w.list("config.json", 3, d), "manifest|config.json")
    for number, digest in enumerate(("", "0" * 63, "0" * 65, "F" * 64, "0" * 63 + "\n", 0, None, ["0"] * 64, "sha256:"))
]  # fmt: skip

_FORMS = [
    _raw("a manifest of nothing", b""),
    _raw("a manifest that is a list", "[]"),
    _raw("a manifest that is null", "null"),
    _raw("a manifest that is text", '"manifest"'),
    _raw("a manifest that is a pickle", pickle_of("true")),
    _raw("a manifest in another encoding", '{"a": 1}'.encode("utf-16")),
    _raw("a manifest with a mark", b"\xef\xbb\xbf{}"),
    _raw("a manifest with broken letters", b'{"\xff": 1}'),
    _raw("a manifest without end", '{"format": "fashreg-folder/1", "files": {'),
    _raw("two manifests", "{} {}"),
    _raw("a deep manifest", nested(100_000)),
    _raw("a manifest as deep as Python", '{"a":' * 20_000 + "1" + "}" * 20_000),
    _raw("a manifest with an endless number", '{"format": ' + "9" * 100_000 + "}"),
    _raw("a manifest with NaN", '{"format": NaN}'),
    _raw("a manifest with comments", '{"format": "fashreg-folder/1" /* */}'),
    _raw("a manifest of the future", json.dumps({"format": "fashreg-folder/9", "kind": "model", "files": {}})),
    _raw("a manifest of nobody", json.dumps({"format": "folder", "kind": "model", "files": {}})),
    _raw("files as a list", json.dumps({"format": "fashreg-folder/1", "kind": "model", "files": ["config.json"]})),
    _raw("files as text", json.dumps({"format": "fashreg-folder/1", "kind": "model", "files": "config.json"})),
    _raw("no files", json.dumps({"format": "fashreg-folder/1", "kind": "model", "files": {}}), "config.json"),
    Hostile("a key twice", "model", _twice, "twice"),
    Hostile("a manifest as large as a disk", "model", _huge, "manifest.json is larger"),
]
_KINDS = [
    Hostile(f"of the kind {kind!r:.30}", "model", lambda w, kind=kind: w.manifest(lambda m: m.update(kind=kind)),
            "kind|manifest")
    for kind in ("index", "evaluation", "checkpoint", "pickle", "", "os:system", 7, None, ["model"], {"model": 1},
                 "MODEL", "model\x1b[2J", "model/../index")
]  # fmt: skip


def _to(target: str) -> Hostile:
    return Hostile(f"config.json is a link to {target}", "model",
                   lambda w: w.instead("config.json", lambda p: p.symlink_to(target)), "config.json")  # fmt: skip


_PLACES = [
    _to("/etc/passwd"), _to("/dev/zero"), _to("config.json"), _to("../../../../etc/hostname"), _to("/nowhere"),
    Hostile("a pipe for a file", "model", lambda w: w.instead("config.json", os.mkfifo), "config.json"),
    Hostile("a pipe for the manifest", "model", lambda w: w.instead("manifest.json", os.mkfifo), "manifest.json"),
    Hostile("the manifest is endless", "model",
            lambda w: w.instead("manifest.json", lambda p: p.symlink_to("/dev/zero")), "manifest.json"),
    Hostile("a folder for a file", "model", lambda w: w.instead("model.safetensors", Path.mkdir), "model.safetensors"),
    Hostile("a folder for the manifest", "model", lambda w: w.instead("manifest.json", Path.mkdir), "manifest.json"),
    Hostile("a file as large as a disk", "model",
            lambda w: w.instead("model.safetensors", lambda p: _sparse(p, 2**40)), "model.safetensors"),
]  # fmt: skip

#: What no repository can hold: links, pipes, folders for files, and disks full of nothing.
ONLY_HERE = frozenset(case.name for case in [*_PLACES, *(c for c in _FORMS if c.name.endswith("as a disk"))])

CASES = [*map(_named, LEAVING), *map(_named, STRANGE), *_NAME_FORMS, *_LIES, *_FORMS, *_KINDS, *_PLACES]

"""Weights that are none, lie about themselves, or are no numbers."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from hostile.bases import first_tensor
from hostile.workshop import Hostile, Workshop, nested, pickle_of, safetensors

FILE = "model.safetensors"
Entry = dict[str, Any]


def _whole(name: str, content: bytes | Callable[[Workshop], bytes], says: str = "model.safetensors") -> Hostile:
    return Hostile(name, "model", lambda w: w.put(FILE, content(w) if callable(content) else content), says)


def _torch_zip() -> bytes:
    """What `torch.save` would write: a zip with a pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_of("true"))
        archive.writestr("archive/version", "3\n")
    return made.getvalue()


def _entry(name: str, change: Callable[[Entry], object], says: str = "") -> Hostile:
    """The header lies of one tensor."""

    def make(w: Workshop) -> None:
        chosen = first_tensor(w.folder)
        w.header(FILE, lambda h: change(h[chosen]))

    return Hostile(name, "model", make, says or "backbone|head")


def _head(name: str, change: Callable[[Any], object], says: str) -> Hostile:
    return Hostile(name, "model", lambda w: w.header(FILE, change), says)


def _twice(w: Workshop) -> None:
    chosen = json.dumps(first_tensor(w.folder))
    extra = f'{chosen}: {{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, '
    w.text_in_header(FILE, lambda text: "{" + extra + text.lstrip()[1:])


def _field_twice(w: Workshop) -> None:
    w.text_in_header(FILE, lambda text: text.replace('"dtype":', '"dtype":"I64","dtype":', 1))


def _overlap(header: Any) -> None:
    """Two tensors of equal shape claim the same bytes."""
    by_shape: dict[str, str] = {}
    for name, entry in header.items():
        other = by_shape.setdefault(str(entry.get("shape")), name)
        if other != name and entry["shape"]:
            entry["data_offsets"] = header[other]["data_offsets"]
            return


def _gap(header: Any) -> None:
    for name, entry in header.items():
        if name != "__metadata__":
            entry["data_offsets"] = [n + 4 for n in entry["data_offsets"]]


def _values(name: str, word: bytes) -> Hostile:
    def fill(body: bytes) -> bytes:
        return word * (len(body) // len(word)) + body[len(body) - len(body) % len(word) :]

    return Hostile(f"weights of {name}", "model", lambda w: w.header(FILE, lambda h: None, fill), "NaN or infinity")


def _one_value(w: Workshop) -> None:
    """A single number of all is not one."""
    raw = (w.folder / FILE).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8:start])["head.linear.weight"]
    at = start + entry["data_offsets"][1] - 4
    w.put(FILE, raw[:at] + struct.pack("<f", float("inf")) + raw[at + 4 :])


_OTHERS = [
    _whole("weights that are a pickle", pickle_of("true")),
    _whole("weights that are a newer pickle", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."),
    _whole("weights that torch would unpickle", _torch_zip()),
    _whole("weights of another library", b"GGUF\x03\x00\x00\x00" + bytes(64)),
    _whole("weights that are a page", b"<!DOCTYPE html><html><body>404</body></html>"),
    _whole("weights that are a pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64),
    _whole("weights that are an array with objects", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}"),
    _whole("weights of nothing", b""),
    _whole("weights of seven bytes", b"\0" * 7),
    _whole("weights of zeros", bytes(4096)),
    _whole("a header longer than the file", safetensors({}, length=10**6)),
    _whole("a header longer than memory", safetensors({}, length=2**63)),
    _whole("a header longer than any number", safetensors({}, length=2**64 - 1)),
    _whole("a header of nothing", safetensors(b"")),
    _whole("a header that is a list", safetensors([])),
    _whole("a header that is a number", safetensors(3)),
    _whole("a header that is null", safetensors(None)),
    _whole("a header in another encoding", safetensors("{}".encode("utf-16"))),
    _whole("a header with NaN", safetensors(b'{"x": NaN}')),
    _whole("a header with broken letters", safetensors(b'{"\xff": 1}')),
    _whole("a deep header", safetensors(nested(100_000).encode())),
    _whole("a header as large as a disk", safetensors(b"{" + b" " * (40 * 2**20) + b"}")),
    _whole("a header of empty lists", safetensors(b'{"x": [' + b"[]," * 3_000_000 + b"[]]}")),
    _whole("an empty file of tensors", safetensors({})),
    _whole("a file of metadata", safetensors({"__metadata__": {"a": "b"}})),
    _whole("cut weights", lambda w: (w.folder / FILE).read_bytes()[:-4]),
    _whole("weights with more behind", lambda w: (w.folder / FILE).read_bytes() + b"\0" * 8),
    _whole("weights with a script behind", lambda w: (w.folder / FILE).read_bytes() + b"#!/bin/sh\ntrue\n"),
    Hostile("weights under another name", "model", lambda w: w.rename(FILE, "pytorch_model.bin"), "model.safetensors"),
    Hostile("weights that the manifest does not list", "model",
            lambda w: w.manifest(lambda m: m["files"].pop(FILE)), "model.safetensors"),
]  # fmt: skip

_SHAPES: dict[str, Any] = {
    "another order": [16, 3, 3, 3], "nothing": [], "none": [0], "without end": [2**60, 2**60], "below none": [-1, -1],
    "half": [1.5], "text": "1234", "letters": ["a", "b"], "an object": {"4": 1}, "true": [True], "null": None,
    "nested": [[4]], "a long number": [10**4000], "many long numbers": [10**4000] * 300, "many axes": [1] * 100_000,
    "nothing and all": [0, 2**62, 2**62], "nothing and more": [0, 10**30],
}  # fmt: skip
_DTYPES: list[Any] = ["PICKLE", "I32", "F64", "F16", "BF16", "BOOL", "C64", "F4", "object", "", None, 32, ["F32"], {}]
_OFFSETS: dict[str, Any] = {
    "beyond the end": [0, 2**40], "backwards": [8, 4], "below the file": [-4, 0], "in the header": [-100, -96],
    "one": [4], "three": [0, 4, 8], "halves": [0.0, 4.0], "text": ["0", "4"], "null": None, "an object": {"0": 4},
    "long numbers": [10**4000, 10**4000 + 4], "true": [False, True],
}  # fmt: skip

_HEADERS = [
    *(_entry(f"a shape of {name}", lambda e, s=shape: e.update(shape=s)) for name, shape in _SHAPES.items()),
    *(_entry(f"the dtype {dtype!r}", lambda e, d=dtype: e.update(dtype=d)) for dtype in _DTYPES),
    *(_entry(f"offsets {name}", lambda e, o=offsets: e.update(data_offsets=o)) for name, offsets in _OFFSETS.items()),
    *(_entry(f"no {field}", lambda e, f=field: e.pop(f)) for field in ("shape", "dtype", "data_offsets")),
    _entry("a stranger's field of a tensor", lambda e: e.update(hook="os:system")),
    _head("a tensor that is a list", lambda h: h.update(extra=[]), "extra"),
    _head("a tensor that is null", lambda h: h.update(extra=None), "extra"),
    _head("a tensor that is text", lambda h: h.update(extra="F32"), "extra"),
    _head("a tensor too many", lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
          "'extra' is not expected"),
    _head("a tensor of a strange name",
          lambda h: h.update({"\x1b[2J\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}), "model"),
    _head("a tensor too few, and a gap", lambda h: h.pop("head.linear.bias"), "model.safetensors|linear.bias"),
    _head("another name for a tensor", lambda h: h.update({"head.evil": h.pop("head.linear.bias")}),
          "head.evil|linear.bias"),
    _head("metadata that is a number", lambda h: h.update(__metadata__=3), "metadata"),
    _head("metadata of numbers", lambda h: h.update(__metadata__={"a": 3}), "metadata"),
    _head("metadata that is deep", lambda h: h.update(__metadata__={"a": [[[]]]}), "metadata"),
    _head("two tensors of the same bytes", _overlap, "model.safetensors"),
    _head("a gap before the first tensor", _gap, "model.safetensors"),
    Hostile("a tensor twice", "model", _twice, "twice"),
    Hostile("a field of a tensor twice", "model", _field_twice, "twice"),
]  # fmt: skip

_NUMBERS = [
    _values("NaN", struct.pack("<f", float("nan"))),
    _values("infinity", struct.pack("<f", float("inf"))),
    _values("infinity below", struct.pack("<f", float("-inf"))),
    _values("NaN with a message", b"\x01\x00\xa0\x7f"),
    Hostile("one number that is none", "model", _one_value, "'head.linear.weight' holds NaN or infinity"),
]


def _extra(name: str, content: bytes) -> Hostile:
    """A file that nobody asked for beside a whole model: it is never opened."""
    return Hostile(f"{name} beside a model", "model", lambda w: w.put(name, content), "")


_BESIDE = [
    *(_extra(name, pickle_of("true"))
      for name in ("pytorch_model.bin", "optimizer.pt", "data.pkl", "model.joblib", "training_args.bin")),
    _extra("modeling_evil.py", b"open('canary', 'w')\n"),
    _extra("sitecustomize.py", b"open('canary', 'w')\n"),
    _extra("fashreg/__init__.py", b"open('canary', 'w')\n"),
    _extra("evil-1.0.dist-info/entry_points.txt", b"[fashreg.head]\nprojection = canary_module:run\n"),
    _extra("setup.py", b"open('canary', 'w')\n"),
    _extra(".git/hooks/post-checkout", b"#!/bin/sh\ntouch canary\n"),
    _extra("tokenizer_config.json", b'{"auto_map": {"AutoTokenizer": "evil.Tokenizer"}}'),
]  # fmt: skip

CASES = [*_OTHERS, *_HEADERS, *_NUMBERS, *_BESIDE]

"""Folders of fashreg that hold little: enough for the Hub, which knows manifests and no models."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from fashreg.manifest import read_manifest, write_folder_atomically

NUMBERS = 64


def weights(value: float, numbers: int = NUMBERS) -> bytes:
    """A safetensors file of one tensor that is `value` throughout."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", value) * numbers


def small_folder(place: Path, kind: str = "model", value: float = 1.0, **more: str | bytes) -> Path:
    """A fashreg folder; `more` are further files, their names with `__` for the dot."""
    files: dict[str, str | bytes] = {
        "model": {
            "config.json": json.dumps({"value": value, "provenance": {}}),
            "model.safetensors": weights(value),
            "README.md": "---\nlibrary_name: fashreg\n---\n# x\n",
        },
        "index": {"index.json": '{"extra": {}}', "vectors.safetensors": weights(value)},
        "evaluation": {"evaluation.json": json.dumps({"value": value, "protocol": {"source": ""}})},
    }.get(kind, {"state.json": "{}"})
    files = {**files, **{name.replace("__", "."): content for name, content in more.items()}}
    with write_folder_atomically(place, kind=kind) as fresh:
        for name, content in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def small_run(place: Path, value: float = 1.0) -> Path:
    """A run folder: a model, its evaluation, and what a run leaves beside them."""
    small_folder(place / "model", value=value)
    small_folder(place / "evaluation", "evaluation", value)
    (place / "metrics.jsonl").write_text("{}\n")
    return place


def is_whole(files: dict[str, bytes], place: str, desk: Path) -> bool:
    """Whether these files of a repository are what the manifest at `place` lists, to the byte."""
    prefix = f"{place}/" if place else ""
    desk.mkdir(parents=True, exist_ok=True)
    (desk / "manifest.json").write_bytes(files[prefix + "manifest.json"])
    listed = read_manifest(desk).files
    return all(
        (len(files[prefix + name]), hashlib.sha256(files[prefix + name]).hexdigest()) == (said.bytes, said.sha256)
        for name, said in listed.items()
    )

"""Folders that are damaged, lie, or would take more than they hold are refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fashreg.errors import FashregError, ModelError
from fashreg.manifest import write_manifest
from fashreg.storage import load_encoder, load_weights
from fashreg.storage.budget import Budget
from fashreg.testing.tiny_run import tiny_encoder

Change = Callable[[dict[str, Any]], None]


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Change a file and its manifest, as someone would who knows the format."""
    (folder / name).write_bytes(content)
    write_manifest(folder, "model")


def with_config(folder: Path, change: Change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    rewritten(folder, "config.json", json.dumps(config).encode())


def with_header(folder: Path, change: Change, body: Callable[[bytes], bytes] = lambda b: b) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    rewritten(folder, "model.safetensors", struct.pack("<Q", len(text)) + text + body(raw[8 + size :]))


# ---- what is refused to be loaded ----


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "recipe.yaml", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "cut", "changed"])
def test_every_damaged_file_is_named(folder: Path, name: str, how: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(bytes(content) if how == "changed" else bytes(content[:-7]))
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_encoder(folder)


CONFIGS: dict[str, tuple[Change, str]] = {
    "another format": (lambda c: c.update(format="fashreg-model/3"), "newer fashreg: pip install --upgrade"),
    "no format": (lambda c: c.pop("format"), "format None"),
    "a stranger's field": (lambda c: c.update(run="rm -rf"), "run: Extra inputs"),
    "an import path": (lambda c: c["head"].update(name="os:system"), "head.name"),
    "a path": (lambda c: c["head"].update(name="../../evil"), "head.name"),
    "an unknown head": (lambda c: c["head"].update(name="projektion"), "did you mean 'projection'"),
    "an unknown plugin": (lambda c: c["head"].update(plugin="fashreg-evil"), "projection"),
    "an unknown option": (lambda c: c["head"]["config"].update(hook="x"), "no option 'hook'"),
    "an option of another type": (lambda c: c["head"]["config"].update(out_dim="many"), "out_dim"),
    "a size of nothing": (lambda c: c["input_spec"].update(size=[0, 8]), "input_spec.size"),
    "a size without end": (lambda c: c["input_spec"].update(size=[10**9, 8]), "input_spec.size"),
    "a deviation of zero": (lambda c: c["input_spec"].update(std=[1, 0, 1]), "input_spec.std"),
    "another width": (lambda c: c.update(embed_dim=9), "embed_dim 9"),
    "another head": (lambda c: c["head"]["config"].update(out_dim=9), r"'head\.linear\.bias' is F32 \[8\]"),
    "widths that do not meet": (lambda c: c["head"]["config"].update(in_dim=9), "cannot be made: the head takes"),
    "a head larger than memory": (lambda c: c["head"]["config"].update(out_dim=10**12), "far more than its weights"),
    "another network": (
        lambda c: c["backbone"]["config"].update(model="test_convnext"),
        "cannot be made|does not hold",
    ),
    "a huge network": (lambda c: c["backbone"]["config"].update(model="vit_giant_patch14_224"), "far more than"),
    "no network": (lambda c: c["backbone"]["config"].update(model="nothing"), "no model 'nothing'"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_is_not_what_it_should_be_is_refused(folder: Path, name: str) -> None:
    change, said = CONFIGS[name]
    with_config(folder, change)
    with pytest.raises(FashregError, match=said):
        load_encoder(folder)


def first(header: dict[str, Any]) -> dict[str, Any]:
    return next(entry for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32")


HEADERS: dict[str, tuple[Change, str]] = {
    "a tensor too many": (
        lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "'extra' is not expected",
    ),
    "another dtype": (lambda h: first(h).update(dtype="I32"), "is I32 .* should be F32"),
    "another shape": (lambda h: first(h).update(shape=[1, *first(h)["shape"]]), "should be"),
    "an unknown dtype": (lambda h: first(h).update(dtype="PICKLE"), "not valid"),
    "a shape without end": (lambda h: first(h).update(shape=[2**60, 2**60]), "do not agree"),
    "a negative shape": (lambda h: first(h).update(shape=[-1, -1]), "do not agree"),
    "offsets beyond the end": (lambda h: first(h).update(data_offsets=[0, 2**40]), "do not agree"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_weights_header_that_lies_is_refused(folder: Path, name: str) -> None:
    change, said = HEADERS[name]
    with_header(folder, change)
    with pytest.raises(ModelError, match=said):
        load_encoder(folder)


def test_weights_that_are_no_numbers_are_named(folder: Path) -> None:
    with_header(
        folder,
        lambda h: None,
        lambda body: struct.pack("<f", float("nan")) * (len(body) // 4) + body[-(len(body) % 4) or len(body) :],
    )
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        load_encoder(folder)


def test_a_pickle_under_a_safe_name_is_not_opened(folder: Path) -> None:
    rewritten(folder, "model.safetensors", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x07touch x\x85R.")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_encoder(folder)


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        load_encoder(tmp_path / "nothing")


def test_weights_of_another_encoder_do_not_go_in(folder: Path) -> None:
    with pytest.raises(ModelError, match="does not hold what it should"):
        load_weights(tiny_encoder("test_convnext"), folder)


# ---- budget ----


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(10**6),
        lambda: torch.zeros((1000, 1000)),
        lambda: torch.ones(size=(1000, 1000)),
        lambda: torch.nn.Linear(1000, 1000),
        lambda: torch.arange(10**6),
        lambda: torch.eye(1000),
        lambda: torch.full((1000, 1000), 0.0),
        lambda: [torch.rand(10_000) for _ in range(100)],
        lambda: torch.nn.Linear(1000, 1000, device="meta").to_empty(device="cpu"),
    ],
)
def test_the_budget_counts_what_is_made(make: Callable[[], Any]) -> None:
    with Budget(9 * 10**6, "x"):
        make()
    with pytest.raises(ModelError, match="x describes a model of more than"), Budget(3 * 10**6, "x"):
        make()


def test_the_budget_counts_how_many_are_made() -> None:
    with pytest.raises(ModelError, match="x describes a model"), Budget(9 * 10**6, "x"):
        _ = [torch.empty(1) for _ in range(1000)]

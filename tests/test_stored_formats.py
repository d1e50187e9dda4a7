"""Folders that earlier versions of fashreg wrote: each is read, by every version after it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fashreg
from fashreg.errors import ModelError
from fashreg.manifest import verify_folder, write_manifest
from fashreg.registry import only
from fashreg.storage import load_encoder, read_provenance, save_encoder
from fashreg.storage.migrations import LATEST, migrated
from fashreg.storage.model_config import read_model_config
from fashreg.strict_tensors import read_tensors

FORMATS = sorted(p for p in (Path(__file__).parent / "formats").iterdir() if p.name.isdigit())
MODELS = [folder for stored in FORMATS for folder in sorted(stored.iterdir()) if (folder / "config.json").is_file()]


def named(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


def state(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_every_earlier_format_is_stored() -> None:
    assert [int(p.name) for p in FORMATS] == list(range(1, int(LATEST.partition("/")[2])))


@pytest.mark.parametrize("folder", MODELS, ids=named)
def test_a_stored_model_is_the_model_it_was(folder: Path) -> None:
    before = state(folder)
    encoder = load_encoder(folder)
    expected = json.loads((folder.parent / "expected.json").read_text())
    assert encoder.fingerprint() == expected["fingerprints"][folder.name]
    said = read_tensors(folder.parent / "embedded.safetensors")
    for task in encoder.head.tasks or ("",):
        vectors = encoder.embed(said["pictures"], task=task or None)
        torch.testing.assert_close(vectors, said[f"{folder.name}:{task}"], rtol=0, atol=1e-5)
    assert state(folder) == before  # reading changes nothing


@pytest.mark.parametrize("folder", MODELS, ids=named)
def test_a_stored_model_that_is_saved_again_has_the_present_format_and_the_same_bits(
    folder: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(folder)
    save_encoder(encoder, tmp_path / "new", provenance=read_model_config(folder / "config.json").provenance)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["format"] == LATEST
    again = load_encoder(tmp_path / "new")
    assert again.fingerprint() == encoder.fingerprint()
    pictures = read_tensors(folder.parent / "embedded.safetensors")["pictures"]
    for task in encoder.head.tasks or (None,):
        assert torch.equal(again.embed(pictures, task=task), encoder.embed(pictures, task=task))
    assert read_provenance(tmp_path / "new").keys() >= read_provenance(folder).keys() - {"recipe"}


def test_what_format_1_says_of_how_its_model_came_about_is_read() -> None:
    found = read_provenance(FORMATS[0] / "model")
    assert found["data"] == {"fingerprint": "abc", "images": 36}
    assert found["metrics"] == {"recall@1": 0.61234}
    assert found["recipe"]["loss"] == "contrastive"
    config = read_model_config(FORMATS[0] / "model" / "config.json")
    assert (config.licence, config.base) == (None, None)


@pytest.mark.parametrize("name", ["index-exact", "index-faiss"])
def test_a_stored_index_finds_the_nearest(name: str) -> None:
    gallery = fashreg.load_index(FORMATS[0] / name, model=FORMATS[0] / "model")
    vectors, ids = gallery.index.vectors()
    found = gallery.index.search(vectors, 3)
    assert torch.equal(found.ids[:, 0], ids)
    torch.testing.assert_close(found.scores, (vectors @ vectors.T).topk(3).values, rtol=0, atol=1e-6)
    assert list(gallery.items["label"])[:3] == ["a", "b", "c"]


def test_a_stored_evaluation_is_read() -> None:
    found = fashreg.load_evaluation(FORMATS[0] / "evaluation")
    assert found.primary in found.metrics
    assert found.counts["queries"] == 12
    assert found.per_query is not None
    assert found.neighbours is not None
    assert found.items is not None
    assert fashreg.compare(found, found) is not None


def test_every_stored_folder_is_whole() -> None:
    for stored in FORMATS:
        for folder in (p for p in stored.iterdir() if p.is_dir()):
            verify_folder(folder)


def test_a_card_of_format_1_that_nobody_touched_is_renewed_whole(tmp_path: Path) -> None:
    shutil.copytree(FORMATS[0] / "model", tmp_path / "model")
    encoder = load_encoder(tmp_path / "model")
    save_encoder(encoder, tmp_path / "model")
    assert (tmp_path / "model" / "README.md").read_text().count("## Limits") == 1
    shutil.copytree(FORMATS[0] / "model", tmp_path / "edited")
    (tmp_path / "edited" / "README.md").write_text("My own words.\n")
    save_encoder(encoder, tmp_path / "edited")
    assert "My own words.\n" in (tmp_path / "edited" / "README.md").read_text()


def test_without_its_plugin_a_stored_model_says_what_to_install() -> None:
    with only(["fashreg-lite0"]), pytest.raises(fashreg.FashregError, match=r"pip install .*'fashreg-template>=0\.1'"):
        load_encoder(FORMATS[0] / "plugin")


@pytest.mark.parametrize(
    ("folder", "file", "read"),
    [
        ("index-exact", "index.json", fashreg.load_index),
        ("evaluation", "evaluation.json", fashreg.load_evaluation),
    ],
)
def test_a_later_index_or_evaluation_says_what_to_type(
    tmp_path: Path, folder: str, file: str, read: Callable[[Path], object]
) -> None:
    shutil.copytree(FORMATS[0] / folder, tmp_path / folder)
    path = tmp_path / folder / file
    path.write_text(path.read_text().replace('"version": 1', '"version": 2', 1))
    write_manifest(tmp_path / folder, folder.partition("-")[0])
    with pytest.raises(ModelError, match=r"written by a newer fashreg: pip install --upgrade fashreg$"):
        read(tmp_path / folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": "fashreg-model/3", "fashreg": "0.4.0"}, r"pip install --upgrade 'fashreg>=0\.4\.0'$"),
        ({"format": "fashreg-model/3", "fashreg": "0.4; curl x"}, r"pip install --upgrade fashreg$"),
        ({"format": "fashreg-model/3", "fashreg": ["0.4"]}, r"pip install --upgrade fashreg$"),
        ({"format": "fashreg-model/0"}, "reads fashreg-model/1 and fashreg-model/2$"),
        ({"format": "fashreg-model/1x"}, "reads fashreg-model/1 and fashreg-model/2$"),
        ({"format": ["fashreg-model/1"]}, "reads fashreg-model/1 and fashreg-model/2$"),
        ({"format": "fashreg-model/1", "licence": "MIT"}, "licence: the format fashreg-model/1 has no such field"),
        ({"format": "fashreg-model/1", "base": None}, "base: the format fashreg-model/1 has no such field"),
        ({}, "has the format None"),
        ([], "has the format None"),
        (None, "has the format None"),
    ],
)
def test_a_format_that_is_not_known_is_refused_with_what_to_type(content: object, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        migrated(content, where="config.json")


def test_a_migration_leaves_what_it_was_given_alone() -> None:
    given = {"format": "fashreg-model/1", "fashreg": "0.1.0"}
    assert migrated(given, where="x") == {"format": LATEST, "fashreg": "0.1.0", "licence": None, "base": None}
    assert given == {"format": "fashreg-model/1", "fashreg": "0.1.0"}

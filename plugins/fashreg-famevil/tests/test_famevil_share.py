"""Adapters alone: saved, pushed and pulled as what differs from a CLIP that is pinned by name and commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from famevil_small import KINDS, small_backbone, small_encoder, small_head
from torch import Tensor

import fashreg
from fashreg.cli import run
from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.storage import load_encoder, save_encoder
from fashreg.strict_tensors import read_header
from fashreg.testing.local_hub import LocalHub, client_of

TEXTS = ["a red dress", "but with long sleeves", "stripes"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub() as server, client_of(server, tmp_path / "hf-home"):
        yield server


@pytest.fixture
def base(hub: LocalHub) -> str:
    """The CLIP alone, on the Hub: its address with the commit."""
    plain = Encoder(small_backbone({}), small_head({}))
    done = plain.push_to_hub("ann/clip", token=hub.token("ann"))
    return f"ann/clip@{done.commit}"


def answers(encoder: Encoder, pictures: Tensor) -> list[object]:
    rows = [encoder.embed(pictures, task=task).tolist() for task in KINDS]
    both = encoder.embed(pictures, texts=TEXTS).tolist()
    said = encoder.embed(texts=TEXTS).tolist()
    return [rows, both, said, encoder.classify(pictures, texts=TEXTS), encoder.caption(pictures)]


def test_adapters_are_pushed_and_pulled_without_the_clip_and_answer_alike_to_the_bit(
    hub: LocalHub, base: str, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = small_encoder(moved=True)  # its CLIP is the base's: frozen, as it were
    monkeypatch.setenv("HF_TOKEN", hub.token("ann"))
    whole = save_encoder(encoder, tmp_path / "whole")
    assert run(["push", str(whole), "ann/fashion", "--base", base]) == 0
    files = hub.repo("ann/fashion").files()
    (tmp_path / "w.safetensors").write_bytes(files["model.safetensors"])
    names = set(read_header(tmp_path / "w.safetensors"))
    assert names
    assert not any(".clip." in name for name in names)
    parts = {name.split(".")[2] for name in names if name.startswith("backbone.")}
    assert parts == {"task_adapters", "cross"}
    assert json.loads(files["config.json"])["base"]["commit"] == base.partition("@")[2]
    assert "base_model: ann/clip" in files["README.md"].decode()
    elsewhere = tmp_path / "elsewhere"
    assert run(["pull", "ann/fashion", "--out", str(elsewhere)]) == 0
    wanted = answers(encoder, pictures)
    assert answers(fashreg.load(elsewhere), pictures) == wanted
    assert answers(fashreg.load("ann/fashion"), pictures) == wanted
    assert fashreg.load(elsewhere).fingerprint() == encoder.fingerprint()


def test_a_task_that_was_added_is_some_tensors_on_the_model_before_it(
    hub: LocalHub, base: str, pictures: Tensor, tmp_path: Path
) -> None:
    token = hub.token("ann")
    encoder = small_encoder({"find": "cross-modal"}, moved=True)
    first = encoder.push_to_hub("ann/find", token=token, base=base)
    encoder.backbone.add_task("edit", "composed")
    encoder.head.add_task("edit", "composed")
    folder = save_encoder(encoder, tmp_path / "more", base=f"ann/find@{first.commit}", token=token)
    names = set(read_header(folder / "model.safetensors"))
    assert not any("task_find" in name or ".clip." in name for name in names)
    loaded = load_encoder(folder)
    assert torch.equal(loaded.embed(pictures, task="find"), encoder.embed(pictures, task="find"))
    assert torch.equal(loaded.embed(pictures, texts=TEXTS), encoder.embed(pictures, texts=TEXTS))


def test_a_base_that_went_on_is_still_what_it_was_and_one_that_is_gone_is_named(
    hub: LocalHub, base: str, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, token = small_encoder(moved=True), hub.token("ann")
    encoder.push_to_hub("ann/fashion", token=token, base=base)
    wanted = answers(encoder, pictures)
    Encoder(small_backbone({}, seed=9), small_head({})).push_to_hub("ann/clip", token=token)
    assert answers(fashreg.load("ann/fashion"), pictures) == wanted
    with client_of(hub, tmp_path / "another-home"):
        hub.drop("ann/clip")
        with pytest.raises(fashreg.FashregError, match="no model ann/clip"):
            fashreg.load("ann/fashion")


def test_a_base_of_another_clip_is_refused_when_saving_and_when_loading(
    hub: LocalHub, base: str, tmp_path: Path
) -> None:
    token = hub.token("ann")
    other = small_backbone({}, seed=9)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    done = Encoder(other, small_head({})).push_to_hub("ann/other", token=token)
    encoder = small_encoder(moved=True)
    with pytest.raises(ModelError, match="no tensor of this model is one of ann/other"):
        save_encoder(encoder, tmp_path / "model", base=f"ann/other@{done.commit}", token=token)
    folder = save_encoder(encoder, tmp_path / "model", base=base, token=token)
    config = json.loads((folder / "config.json").read_text())
    config["base"] = {**config["base"], "repo": "ann/other", "commit": done.commit}
    (folder / "config.json").write_text(json.dumps(config))
    from fashreg.manifest import write_manifest

    write_manifest(folder, "model")
    with pytest.raises(ModelError, match="with the fingerprint"):
        load_encoder(folder)


def test_at_the_papers_size_four_tasks_are_a_fifth_of_what_the_whole_takes() -> None:
    """Counted on the meta device: the whole is 857 MB, the adapters, ways across and heads are 259 MB of it, and
    a further task without the ways across is 8 MB."""
    from test_famevil_backbone import ALL, count, paper_backbone, paper_head

    backbone, head = paper_backbone(ALL), paper_head(ALL)
    whole, clip = 4 * count(backbone, head), 4 * count(backbone.trunk.clip)
    assert (round(whole / 1e6), round((whole - clip) / 1e6)) == (857, 259)
    assert round(4 * count(backbone.trunk.adapters_of("xmr")) / 1e6) == 8


def test_what_a_model_answers_does_not_depend_on_what_is_frozen(pictures: Tensor) -> None:
    """torch multiplies by a frozen matrix in another way; a run with a frozen CLIP answers as its folder."""
    free, frozen = small_encoder(moved=True), small_encoder(moved=True).requires_grad_(False)
    frozen.head.requires_grad_(True)
    flags = {name: parameter.requires_grad for name, parameter in frozen.named_parameters()}
    for one, other in zip(answers(free, pictures), answers(frozen, pictures), strict=True):
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    assert {name: parameter.requires_grad for name, parameter in frozen.named_parameters()} == flags

"""`fashreg push --base`: of a saved model only what differs from another one is sent, and it comes back whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from shelf import content_of
from small_folders import small_folder

import fashreg
from fashreg.cli import run
from fashreg.errors import ModelError
from fashreg.jobs.pushing import push_on_base
from fashreg.manifest import CARD
from fashreg.storage import save_encoder
from fashreg.strict_tensors import read_header
from fashreg.testing.local_hub import LocalHub, Repository
from fashreg.testing.tiny_run import SIDE, tiny_encoder


def images() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def base(hub: LocalHub, tmp_path: Path) -> Repository:
    return hub.create("ann/base", content_of(save_encoder(tiny_encoder(seed=3), tmp_path / "base")))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    encoder = tiny_encoder(seed=3)
    with torch.no_grad():
        encoder.head.linear.weight += 0.5
    return save_encoder(encoder, tmp_path / "model", metrics={"recall@1": 0.5}, recipe={"description": "Shoes."})


def test_a_saved_model_is_pushed_as_what_differs_and_loads_to_the_same_bits(
    hub: LocalHub, base: Repository, model: Path, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    before = content_of(model)
    assert run(["push", str(model), "ann/shoes", "--base", f"ann/base@{base.head}"]) == 0
    assert content_of(model) == before, "the folder here stays whole"
    files = hub.repo("ann/shoes").files()
    (tmp_path / "there.safetensors").write_bytes(files["model.safetensors"])
    assert set(read_header(tmp_path / "there.safetensors")) == {"head.linear.weight"}
    assert json.loads(files["config.json"])["base"]["commit"] == base.head
    assert files["recipe.yaml"] == (model / "recipe.yaml").read_bytes()
    card = files["README.md"].decode()
    assert "base_model: ann/base" in card
    assert f"ann/base@{base.head}" in card
    assert "recall@1" in card
    wanted = fashreg.load(model).embed(images())
    assert torch.equal(fashreg.load("ann/shoes").embed(images()), wanted)
    assert run(["pull", "ann/shoes", "--out", str(tmp_path / "pulled")]) == 0
    assert torch.equal(fashreg.load(tmp_path / "pulled").embed(images()), wanted)


def test_a_run_goes_with_its_evaluation_and_what_is_included(
    hub: LocalHub, base: Repository, model: Path, token: str, tmp_path: Path
) -> None:
    whole = tmp_path / "run"
    shutil.copytree(model, whole / "model")
    small_folder(whole / "evaluation", "evaluation")
    (whole / "LICENSE").write_text("mine")
    done = push_on_base(whole, "ann/shoes", base="ann/base", token=token, include=["LICENSE"])
    files = hub.repo("ann/shoes").files()
    assert {"evaluation/evaluation.json", "LICENSE", "config.json"} <= set(files)
    assert len(files["model.safetensors"]) < (model / "model.safetensors").stat().st_size / 10
    again = push_on_base(whole, "ann/shoes", base="ann/base", token=token, include=["LICENSE"])
    assert (again.commit, again.written) == (done.commit, ())


def test_a_model_on_one_base_is_pushed_on_another(
    hub: LocalHub, base: Repository, model: Path, token: str, tmp_path: Path
) -> None:
    push_on_base(model, "ann/shoes", base="ann/base", token=token)
    fashreg.load("ann/shoes")
    assert run(["pull", "ann/shoes", "--out", str(tmp_path / "pulled")]) == 0
    hub.create("ann/whole", content_of(model))
    push_on_base(tmp_path / "pulled", "ann/copy", base="ann/whole", token=token)
    (tmp_path / "there.safetensors").write_bytes(hub.repo("ann/copy").files()["model.safetensors"])
    assert set(read_header(tmp_path / "there.safetensors")) == set()
    assert torch.equal(fashreg.load("ann/copy").embed(images()), fashreg.load(model).embed(images()))


def test_what_a_person_wrote_into_the_card_goes_along(hub: LocalHub, base: Repository, model: Path, token: str) -> None:
    (model / CARD).write_text((model / CARD).read_text() + "\nOurs since spring.\n")
    push_on_base(model, "ann/shoes", base="ann/base", token=token)
    card = hub.repo("ann/shoes").files()["README.md"].decode()
    assert "Ours since spring." in card
    assert "base_model: ann/base" in card


def test_folders_without_a_model_and_bases_that_give_nothing_are_refused(
    hub: LocalHub, base: Repository, model: Path, token: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="only models have a base"):
        push_on_base(small_folder(tmp_path / "index", "index"), "ann/shoes", base="ann/base", token=token)
    with pytest.raises(ModelError, match="must be on the Hub"):
        push_on_base(model, "ann/shoes", base=str(model), token=token)
    hub.create("ann/other", content_of(save_encoder(tiny_encoder("test_convnext", seed=1), tmp_path / "other")))
    encoder = tiny_encoder(seed=3)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value += value.new_tensor(0.25) if value.is_floating_point() else 1
    with pytest.raises(ModelError, match="no tensor of this model is one of ann/other"):
        push_on_base(save_encoder(encoder, tmp_path / "moved"), "ann/shoes", base="ann/other", token=token)
    (model / "notes.txt").write_text("stray")
    with pytest.raises(ModelError, match=r"notes\.txt"):
        push_on_base(model, "ann/shoes", base="ann/base", token=token)
    assert not hub.has("ann/shoes")

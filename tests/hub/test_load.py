from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shelf import content_of, fetched_paths, folder_of, no_sockets, published

import fashreg
from fashreg.data.atelier import draw_atelier
from fashreg.errors import ComponentError, FashregError, HubError, ModelError
from fashreg.hub.origin import Origin
from fashreg.hub.pull import pull
from fashreg.jobs.opening import open_model
from fashreg.manifest import write_manifest
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.local_hub import LocalHub
from fashreg.testing.tiny_run import SIDE, tiny_encoder


def images() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    encoder = tiny_encoder(seed=3)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value += value.new_tensor(0.25) if value.is_floating_point() else 1
    return save_encoder(encoder, tmp_path / "model", recipe={"seed": 3})


def changed(model: Path, name: str, old: str, new: str) -> Path:
    path = model / name
    path.write_text(path.read_text().replace(old, new))
    write_manifest(model, "model")
    return model


# ---- equal embeddings ----


def test_a_model_of_the_hub_embeds_to_the_same_bits(hub: LocalHub, model: Path, tmp_path: Path) -> None:
    head = published(hub, model).head
    vectors = load_encoder(model).embed(images())
    loaded = fashreg.load("ann/bags")
    assert torch.equal(loaded.embed(images()), vectors)
    assert loaded.origin == Origin("ann/bags", head, "main", hub.endpoint)
    assert not loaded.training
    pulled = fashreg.load(pull("ann/bags", tmp_path / "out"))
    assert torch.equal(pulled.embed(images()), vectors)
    assert pulled.origin == loaded.origin
    assert fashreg.load(model).origin is None


def test_a_new_process_without_network_gives_the_same_bits(hub: LocalHub, model: Path, tmp_path: Path) -> None:
    published(hub, model)
    vectors = fashreg.load("ann/bags").embed(images())
    hub.close()
    code = (
        "import socket, torch, fashreg\ntorch.set_num_threads(1)\n"
        "def refuse(*arguments, **options): raise AssertionError('a connection was asked for')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        f"images = torch.randn(3, 3, {SIDE}, {SIDE}, generator=torch.Generator().manual_seed(1))\n"
        "print(fashreg.load('ann/bags').embed(images).numpy().tobytes().hex())"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == vectors.numpy().tobytes().hex(), done.stderr


def test_loading_twice_from_the_cache_needs_no_network(
    hub: LocalHub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, model)
    first = fashreg.load("ann/bags")
    with no_sockets(monkeypatch):
        again = fashreg.load("ann/bags", local_files_only=True)
    assert torch.equal(first.embed(images()), again.embed(images()))


def test_a_card_that_was_edited_on_the_website_stops_nobody(hub: LocalHub, model: Path) -> None:
    published(hub, model).put({"README.md": "# My own words\n"})
    assert fashreg.load("ann/bags").embed_dim == 8


# ---- before the weights ----


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ('"name": "projection"', '"name": "gem-other"', ComponentError, "gem-other"),
        ('"plugin": "fashreg"', '"plugin": "fashreg-elsewhere"', ComponentError, "fashreg-elsewhere"),
        ('"out_dim": 8', '"out_dim": 9000', ModelError, "describes a model of"),
        ('"out_dim": 8', '"out_dim": 1000000000000', ModelError, "far more than its weights"),
        ('"out_dim": 8', '"out_dim": -8', FashregError, "out_dim"),
        ('"head"', '"hed"', ModelError, "head"),
        ("fashreg-model/", "fashreg-model/99", ModelError, "pip install --upgrade"),
    ],
)
def test_a_model_that_cannot_be_made_here_is_refused_before_its_weights_come(
    hub: LocalHub, model: Path, old: str, new: str, error: type[Exception], said: str
) -> None:
    published(hub, changed(model, "config.json", old, new))
    with pytest.raises(error, match=said):
        fashreg.load("ann/bags")
    assert "model.safetensors" not in fetched_paths(hub)


def test_weights_of_another_size_than_the_config_implies_are_not_fetched(hub: LocalHub, model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"x" * 1000)
    write_manifest(model, "model")
    published(hub, model)
    with pytest.raises(ModelError, match=r"describes a model of .* bytes, and its model\.safetensors has 1,000"):
        fashreg.load("ann/bags")
    assert "model.safetensors" not in fetched_paths(hub)


def test_a_model_without_weights_in_its_list_is_named(hub: LocalHub, model: Path) -> None:
    (model / "model.safetensors").unlink()
    write_manifest(model, "model")
    published(hub, model)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        fashreg.load("ann/bags")


# ---- which of the two ----


def test_a_folder_here_wins_over_the_hub(
    hub: LocalHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub, model)
    monkeypatch.chdir(tmp_path)
    save_encoder(tiny_encoder(seed=4), "ann/bags")
    assert fashreg.load("ann/bags").origin is None
    assert hub.requests == []
    assert fashreg.load("hf://ann/bags").origin is not None


def test_a_path_that_is_not_there_says_so_and_names_the_hub(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match=r"there is no folder ann/bags here, and .* has no model ann/bags"):
        fashreg.load("ann/bags")
    (tmp_path / "ann").mkdir()
    before = len(hub.requests)
    with pytest.raises(ModelError, match=r"no model folder ann/bags.*for the Hub's ann/bags write hf://ann/bags"):
        open_model("ann/bags")
    assert len(hub.requests) == before


def test_a_revision_is_for_repositories(model: Path) -> None:
    with pytest.raises(ModelError, match="revision='v1' is for repositories on the Hub"):
        fashreg.load(model, revision="v1")


def test_an_index_is_no_model(hub: LocalHub, tmp_path: Path) -> None:
    hub.create("ann/index", content_of(folder_of(tmp_path / "index", {"index.json": b"{}"}, kind="index")))
    with pytest.raises(ModelError, match="kind 'index', and a 'model' was asked for"):
        fashreg.load("ann/index")


# ---- in the jobs ----


def test_every_job_takes_a_repository_where_it_takes_a_folder(hub: LocalHub, model: Path, tmp_path: Path) -> None:
    repo = published(hub, model)
    repo.tags["v1"] = repo.head
    table = draw_atelier(tmp_path / "atelier", products=12, views=2, size=32)
    gallery = fashreg.build_index("ann/bags@v1", table, tmp_path / "index")
    about = json.loads((tmp_path / "index" / "index.json").read_text())
    assert f"hf://ann/bags@{repo.head}" in json.dumps(about)
    repo.tags.clear()
    again = fashreg.load_index(tmp_path / "index")
    assert again.encoder is not None
    assert again.encoder.origin == Origin("ann/bags", repo.head, repo.head, hub.endpoint)
    assert len(again) == len(gallery)
    measured = fashreg.evaluate("ann/bags", table)
    assert measured.model is not None
    assert measured.model["commit"] == repo.head

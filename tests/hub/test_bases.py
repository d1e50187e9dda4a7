"""Heads alone: only what differs from a base on the Hub is stored, and the base is pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from shelf import content_of, no_sockets

import fashreg
from fashreg.backbones.timm import TimmBackbone
from fashreg.encoder import Encoder
from fashreg.errors import FashregError, HubError, ModelError
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.heads.projection import ProjectionHead
from fashreg.hub.pull import pull
from fashreg.manifest import write_manifest
from fashreg.storage import load_encoder, load_weights, save_encoder
from fashreg.strict_tensors import read_header, read_tensors, write_tensors
from fashreg.testing.local_hub import LocalHub, Repository
from fashreg.testing.tiny_run import SIDE, tiny_encoder


def images() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def refined(encoder: Encoder, by: float = 0.5) -> Encoder:
    """The same backbone, a head that went on."""
    with torch.no_grad():
        encoder.head.linear.weight += by
    return encoder


@pytest.fixture
def base(hub: LocalHub, tmp_path: Path) -> Repository:
    return hub.create("ann/base", content_of(save_encoder(tiny_encoder(seed=3), tmp_path / "base")))


@pytest.fixture
def part(base: Repository, tmp_path: Path) -> Path:
    return save_encoder(refined(tiny_encoder(seed=3)), tmp_path / "part", base="ann/base")


def with_base(folder: Path, **changes: str) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["base"].update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    write_manifest(folder, "model")
    return folder


def test_a_head_alone_is_stored_and_loads_to_the_same_bits(base: Repository, part: Path, tmp_path: Path) -> None:
    assert set(read_header(part / "model.safetensors")) == {"head.linear.weight"}
    said = json.loads((part / "config.json").read_text())["base"]
    assert said == {"repo": "ann/base", "commit": base.head, "fingerprint": tiny_encoder(seed=3).fingerprint()}
    assert "base_model: ann/base" in (part / "README.md").read_text()
    whole = refined(tiny_encoder(seed=3))
    loaded = load_encoder(part)
    assert loaded.fingerprint() == whole.fingerprint()
    assert torch.equal(loaded.embed(images()), whole.embed(images()))
    other = tiny_encoder(seed=9)
    load_weights(other, part)
    assert torch.equal(other.embed(images()), whole.embed(images()))


def test_it_is_loaded_from_the_hub_and_from_what_was_pulled(
    hub: LocalHub, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.create("bob/head", content_of(part))
    vectors = refined(tiny_encoder(seed=3)).embed(images())
    loaded = fashreg.load("bob/head")
    assert loaded.origin is not None
    assert loaded.origin.repo == "bob/head"
    assert torch.equal(loaded.embed(images()), vectors)
    with no_sockets(monkeypatch):
        assert torch.equal(fashreg.load("bob/head", local_files_only=True).embed(images()), vectors)
    pull("bob/head", tmp_path / "pulled")
    assert torch.equal(fashreg.load(tmp_path / "pulled").embed(images()), vectors)


def test_the_base_that_was_meant_stays_when_its_branch_goes_on(
    base: Repository, part: Path, tmp_path: Path, hub: LocalHub
) -> None:
    base.put(content_of(save_encoder(tiny_encoder(seed=4), tmp_path / "later")))
    assert load_encoder(part).fingerprint() == refined(tiny_encoder(seed=3)).fingerprint()


def test_another_width_and_a_task_that_was_added_store_what_is_new(
    base: Repository, hub: LocalHub, tmp_path: Path
) -> None:
    backbone = TimmBackbone("test_efficientnet", weights=None, image_size=SIDE, seed=3)
    wider = Encoder(backbone, ProjectionHead(12, in_dim=backbone.out_dim, seed=1))
    folder = save_encoder(wider, tmp_path / "wider", base="ann/base")
    assert set(read_header(folder / "model.safetensors")) == {"head.linear.weight", "head.linear.bias"} & {
        f"head.{name}" for name in wider.head.state_dict()
    }
    assert torch.equal(load_encoder(folder).embed(images()), wider.embed(images()))

    tasks = Encoder(backbone, MultiTaskHead(("colour",), out_dim=4, in_dim=backbone.out_dim))
    hub.create("ann/tasks", content_of(save_encoder(tasks, tmp_path / "tasks")))
    tasks.head.add_task("sleeve")
    folder = save_encoder(tasks, tmp_path / "more", base="ann/tasks@main")
    names = set(read_header(folder / "model.safetensors"))
    assert names
    assert all("head" in name for name in names)
    for task in ("colour", "sleeve"):
        assert torch.equal(load_encoder(folder).embed(images(), task=task), tasks.embed(images(), task=task))


def test_a_base_may_have_a_base_and_there_is_an_end_of_it(hub: LocalHub, part: Path, tmp_path: Path) -> None:
    encoder = refined(tiny_encoder(seed=3))
    hub.create("ann/1", content_of(part))
    for number in range(1, 4):
        folder = save_encoder(refined(encoder), tmp_path / str(number), base=f"ann/{number}")
        assert torch.equal(load_encoder(folder).embed(images()), encoder.embed(images()))
        hub.create(f"ann/{number + 1}", content_of(folder))
    with pytest.raises(ModelError, match="the base of a base"):
        save_encoder(refined(encoder), tmp_path / "5", base="ann/4")
    assert not (tmp_path / "5").exists()


def test_a_base_with_another_fingerprint_is_refused(part: Path) -> None:
    with pytest.raises(ModelError, match=r"goes on from ann/base@.* with the fingerprint 000000000000, and that model"):
        load_encoder(with_base(part, fingerprint="0" * 64))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repo": "ann/gone"}, "no model ann/gone"),
        ({"commit": "0" * 40}, "no revision 0000"),
        ({"commit": "main"}, r"base\.commit"),
        ({"repo": "../../etc"}, "no name of a repository"),
        ({"fingerprint": "x"}, r"base\.fingerprint"),
        ({"code": "x"}, r"base\.code"),
    ],
)
def test_a_base_that_cannot_be_had_is_named(hub: LocalHub, part: Path, changes: dict[str, str], said: str) -> None:
    with_base(part, **changes)
    with pytest.raises(FashregError, match=said):
        load_encoder(part)
    hub.create("bob/head", content_of(part))
    with pytest.raises(FashregError, match=said) as caught:
        fashreg.load("bob/head")
    assert "there is no folder bob/head" not in str(caught.value)


@pytest.mark.parametrize("how", ["misses", "too many"])
def test_a_head_that_misses_a_tensor_or_holds_one_too_many_is_refused(hub: LocalHub, part: Path, how: str) -> None:
    held = read_tensors(part / "model.safetensors")
    if how == "misses":  # of a width that the base does not have
        config = json.loads((part / "config.json").read_text())
        config["head"]["config"]["out_dim"] = config["embed_dim"] = 9
        (part / "config.json").write_text(json.dumps(config))
        held = {"head.linear.weight": torch.zeros(9, 256), "backbone.net.conv_stem.weight": torch.zeros(24, 3, 3, 3)}
    else:
        held["head.other"] = torch.zeros(1)
    write_tensors(part / "model.safetensors", held)
    write_manifest(part, "model")
    with pytest.raises(ModelError, match=r"'head\.linear\.bias' is missing|'head\.other' is not expected"):
        load_encoder(part)


@pytest.mark.parametrize(
    ("base_name", "said"), [("ann/other", "no tensor of this model is one of"), ("model", "must be on the Hub")]
)
def test_a_base_that_gives_nothing_is_refused(hub: LocalHub, tmp_path: Path, base_name: str, said: str) -> None:
    hub.create("ann/other", content_of(save_encoder(tiny_encoder("test_convnext", seed=1), tmp_path / "other")))
    encoder = tiny_encoder(seed=3)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            value += value.new_tensor(0.25) if value.is_floating_point() else 1
    with pytest.raises(ModelError, match=said):
        save_encoder(encoder, tmp_path / "model", base=base_name)
    assert not (tmp_path / "model").exists()


def test_a_base_that_is_not_there_is_an_error_of_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no model ann/nobody"):
        save_encoder(tiny_encoder(), tmp_path / "model", base="ann/nobody")


def test_the_two_zeros_are_different_tensors(hub: LocalHub, tmp_path: Path) -> None:
    """Equal as numbers, and not as fingerprints: an index made before would no longer fit."""
    plus, minus = tiny_encoder(seed=3), tiny_encoder(seed=3)
    with torch.no_grad():
        plus.head.linear.weight.zero_()
        minus.head.linear.weight.zero_().neg_()
    hub.create("ann/zeros", content_of(save_encoder(plus, tmp_path / "plus")))
    folder = save_encoder(minus, tmp_path / "minus", base="ann/zeros")
    assert load_encoder(folder).fingerprint() == minus.fingerprint() != plus.fingerprint()

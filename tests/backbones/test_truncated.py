"""The truncated backbone: its contract, what is cut away, and that what is left can be named, saved and built again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import fashreg
from fashreg.assembly import build, spec_of
from fashreg.backbones.timm import TimmBackbone
from fashreg.backbones.truncated import TruncatedBackbone
from fashreg.encoder import Encoder
from fashreg.errors import OptionError
from fashreg.heads.projection import ProjectionHead
from fashreg.storage import save_encoder
from fashreg.testing.backbone import BackboneContract, pictures
from fashreg.testing.state import same_state, state_of

SMALL = {"name": "timm", "model": "resnet10t", "weights": None, "image_size": 48}


def small(model: str = "resnet10t") -> TimmBackbone:
    return TimmBackbone(model, None, image_size=48 if model != "test_vit" else None)


class TestAResNetWithoutItsLastStages(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TruncatedBackbone(small(), 3)


class TestATransformerOfTwoBlocks(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return TruncatedBackbone(small("test_vit"), 3)


class TestPicturesAlone(BackboneContract):
    """keep = 0 has no weights, so two sentences of the contract have nothing to say."""

    @pytest.fixture
    def backbone(self) -> Any:
        return TruncatedBackbone(small(), 0)

    def test_gradients_reach_every_parameter_of_the_stages_that_are_not_frozen(self, backbone: Any) -> None:
        images = pictures(backbone).requires_grad_()
        backbone(images).sum().backward()
        assert images.grad is not None
        assert not list(backbone.parameters())

    def test_a_copy_lives_its_own_life(self, backbone: Any) -> None:
        other, images = copy.deepcopy(backbone), pictures(backbone)
        assert torch.equal(other(images), backbone(images))
        assert other.stages == ("pictures",)
        assert torch.equal(other.to_map(other.run_stages(images)), images)


def test_the_trunk_of_resnet_50_has_8543296_parameters_and_maps_of_any_size() -> None:
    trunk = TruncatedBackbone(TimmBackbone("resnet50", None), 4).eval()
    assert trunk.stages == ("stem", "layer1", "layer2", "layer3")
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 8_543_296
    assert trunk.map_dim == trunk.out_dim == 1024
    with torch.no_grad():
        assert trunk.run_stages(torch.rand(1, 3, 224, 224)).shape == (1, 1024, 14, 14)
        assert trunk.run_stages(torch.rand(1, 3, 112, 112)).shape == (1, 1024, 7, 7)


@pytest.mark.parametrize("keep", [1, 2, 4, 5])
def test_it_gives_what_the_whole_network_gives_up_to_there(keep: int) -> None:
    whole, images = small().eval(), torch.rand(2, 3, 48, 48)
    cut = TruncatedBackbone(copy.deepcopy(whole), keep).eval()
    with torch.no_grad():
        wanted = whole.to_map(whole.run_stages(images, 0, keep))
        assert torch.equal(cut.to_map(cut.run_stages(images)), wanted)
        assert torch.equal(cut(images), wanted.mean((2, 3)))
    kept = {id(p) for i in range(keep) for m in cut.stage_modules(i) for p in m.parameters()}
    assert kept == {id(p) for p in cut.parameters()}
    assert len(cut.state_dict()) == len(whole.state_dict()) or keep < 5


def test_cutting_a_cut_network_again_is_the_smaller_cut() -> None:
    twice = TruncatedBackbone(TruncatedBackbone(small(), 4), 2)
    once = TruncatedBackbone(small(), 2)
    assert twice.stages == once.stages
    assert [t.shape for t in state_of(twice).values()] == [t.shape for t in state_of(once).values()]


def test_it_is_written_in_a_recipe_and_in_its_spec() -> None:
    made = build("backbone", {"name": "truncated", "backbone": SMALL, "keep": 2}, facts={"seed": 3})
    assert made.backbone.seed == 3
    again = build("backbone", spec_of(made))
    assert spec_of(again) == spec_of(made)
    assert same_state(state_of(again), state_of(made))


@pytest.mark.parametrize(("keep", "message"), [(6, "the backbone has 5 stages: stem"), (-1, "0 or more, not -1")])
def test_a_number_of_stages_that_is_not_there_is_refused(keep: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TruncatedBackbone(small(), keep)


class NoMap(TimmBackbone):
    """Its map cannot be read off an early stage."""

    def to_map(self, features: Any) -> Any:
        if features.shape[1] != 512:
            raise ValueError("only the last stage gives a map")
        return super().to_map(features)


def test_a_backbone_that_reads_only_its_last_map_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match=r"'layer1' cannot be read as a spatial map \(only the last stage"):
        TruncatedBackbone(NoMap("resnet10t", None, image_size=48), 2)


def saved(folder: Path, weights: str | None = None) -> Encoder:
    trunk = TruncatedBackbone(small(), 2)
    trunk.backbone.weights = weights
    encoder = Encoder(trunk, ProjectionHead(4, in_dim=trunk.out_dim)).eval()
    save_encoder(encoder, folder)
    return encoder


def test_a_saved_folder_holds_the_kept_stages_once_and_reaches_nowhere(tmp_path: Path) -> None:
    encoder = saved(tmp_path / "model", weights="hub")
    found = fashreg.load(tmp_path / "model")
    images = torch.rand(2, 3, 48, 48)
    assert torch.equal(found(images), encoder(images))
    assert found.fingerprint() == encoder.fingerprint()
    assert found.backbone.backbone.weights is None
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    held = sum(tensor.numel() * tensor.itemsize for tensor in encoder.state_dict().values())
    assert held < size < held + 20_000


def test_a_folder_whose_inner_backbone_would_fetch_is_refused(tmp_path: Path) -> None:
    from fashreg.assembly import told_by

    spec = {"name": "truncated", "backbone": {**SMALL, "weights": "hub"}, "keep": 2}
    with told_by("a folder"), pytest.raises(OptionError, match="reach weights='hub'"):
        build("backbone", spec)

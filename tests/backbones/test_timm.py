"""TimmBackbone: timm's own features bit for bit, stages, names, sizes, seeds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from fashreg.assembly import build, spec_of
from fashreg.backbones.timm import TimmBackbone
from fashreg.errors import OptionError
from fashreg.testing.backbone import pictures
from fashreg.testing.state import same_state, shaken, state_of
from fashreg.values import InputSpec


@pytest.mark.parametrize(
    ("model", "first", "last", "channels"),
    [
        ("resnet18", "stem", "layer4", 512),
        ("tf_efficientnet_lite0", "stem", "conv_head", 1280),
        ("mobilenetv3_small_050", "stem", "blocks.5", 288),
        ("mobilenetv4_conv_small_050", "stem", "blocks.4", 480),
        ("convnext_atto", "stem", "stages.3", 320),
        ("regnetx_002", "stem", "s4", 368),
        ("resnetv2_50", "stem", "norm", 2048),
        ("vit_tiny_patch16_224", "stem", "norm", 192),
        ("deit_tiny_distilled_patch16_224", "stem", "norm", 192),
        ("swin_tiny_patch4_window7_224", "stem", "norm", 768),
        ("mambaout_femto", "stem", "stages.3", 288),
        ("ghostnet_050", "all", "all", 480),
        ("densenet121", "all", "all", 1024),
    ],
)
def test_features_are_timms_own_bit_for_bit(model: str, first: str, last: str, channels: int) -> None:
    backbone = TimmBackbone(model, None, image_size=64).eval()
    shaken(backbone)
    images = pictures(backbone)
    with torch.no_grad():
        features = backbone.net.forward_features(images)
        assert torch.equal(backbone.run_stages(images), features)
        assert torch.equal(backbone(images), backbone.net.forward_head(features, pre_logits=True))
        assert torch.equal(backbone(images), backbone.net(images))
        spatial = backbone.to_map(features)
    assert (backbone.stages[0], backbone.stages[-1]) == (first, last)
    assert spatial.shape[:2] == (2, channels)
    assert backbone.map_dim == channels


def test_the_map_of_a_vit_is_its_patches_row_by_row_without_the_class_token() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", None, image_size=48, last_stage="blocks.0").eval()
    tokens = torch.arange(10.0).reshape(1, 10, 1)  # class token 0, patches 1..9
    assert backbone.to_map(tokens)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_native_pooling_of_a_vit_is_its_class_token() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", None, image_size=48).eval()
    features = backbone.run_stages(pictures(backbone))
    assert torch.equal(backbone.pool(features), features[:, 0])


@pytest.mark.parametrize(("pooling", "wanted"), [("avg", [2.5, 6.5]), ("max", [4.0, 8.0])])
def test_average_and_maximum_pool_the_map(pooling: str, wanted: list[float]) -> None:
    backbone = build("backbone", {"name": "timm", "model": "resnet18", "weights": None, "pooling": pooling})
    assert backbone.pool(torch.arange(1.0, 9.0).reshape(1, 2, 2, 2)).tolist() == [wanted]


def test_what_follows_the_last_stage_is_removed_and_the_rest_is_as_before() -> None:
    whole = TimmBackbone("resnet18", None, image_size=64).eval()
    cut = TimmBackbone("resnet18", None, image_size=64, last_stage="layer3").eval()
    assert cut.stages == ("stem", "layer1", "layer2", "layer3")
    assert (cut.out_dim, cut.map_dim) == (256, 256)
    state = state_of(cut)
    assert not [name for name in state if "layer4" in name]
    assert same_state(state, {name: tensor for name, tensor in state_of(whole).items() if name in state})
    images = pictures(whole)
    assert torch.equal(cut.to_map(cut.run_stages(images)), whole.run_stages(images, 0, 4))
    assert torch.equal(cut(images), whole.run_stages(images, 0, 4).mean((2, 3)))


def test_an_unknown_last_stage_is_refused_with_the_stages_there_are() -> None:
    with pytest.raises(OptionError, match="no stage 'layer9'; its stages are stem, layer1, layer2, layer3, layer4"):
        TimmBackbone("resnet18", None, last_stage="layer9")


def test_random_weights_come_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one = TimmBackbone("mobilenetv3_small_050", None, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert same_state(state_of(one), state_of(TimmBackbone("mobilenetv3_small_050", None, seed=3)))
    assert not same_state(state_of(one), state_of(TimmBackbone("mobilenetv3_small_050", None, seed=4)))


def test_the_input_spec_is_timms_with_size_and_crop_as_asked() -> None:
    half = (0.5, 0.5, 0.5)
    assert TimmBackbone("tf_efficientnet_lite0", None).input_spec == InputSpec((224, 224), half, half, "bicubic", 0.875)
    asked = TimmBackbone("tf_efficientnet_lite0", None, image_size=128, crop=1.0).input_spec
    assert asked == InputSpec((128, 128), half, half, "bicubic", 1.0)


def test_a_network_for_one_size_refuses_another_and_says_both() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", None, image_size=48, last_stage="blocks.0")
    with pytest.raises(ValueError, match="made for pictures of 48x48, not 48x64; set image_size"):
        backbone(torch.zeros(1, 3, 48, 64))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet81", "no model 'resnet81'; did you mean resnet18"),
        ("qqqq", r"no model 'qqqq'; see timm.list_models\(\)"),
        ("hf-hub:timm/resnet18", "no model 'hf-hub:timm/resnet18'"),
        ("resnet18.a1_in2k", r"no weights 'a1_in2k' of resnet18; did you mean resnet18.a1_in1k\?"),
        ("resnet18.", "no weights '' of resnet18"),
        ("mambaout_small_rw.none", "no weights 'none' of mambaout_small_rw"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(model: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TimmBackbone(model, None)


@pytest.mark.parametrize("wrong", [{"pooling": "mean"}, {"image_size": 0}, {"crop": 0.0}, {"crop": 1.5}])
def test_impossible_values_are_refused_without_the_framework(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be at least 1|pooling is"):
        TimmBackbone("resnet18", None, **wrong)  # type: ignore[arg-type]


def test_its_spec_builds_an_equal_backbone() -> None:
    one = TimmBackbone("resnet18", None, image_size=64, last_stage="layer1", seed=5)
    other = build("backbone", spec_of(one))
    assert spec_of(other) == spec_of(one)
    assert same_state(state_of(one), state_of(other))


def test_a_network_without_a_map_still_gives_pooled_features_and_says_so() -> None:
    backbone = TimmBackbone("volo_d1_224", None, image_size=64).eval()
    assert backbone(pictures(backbone)).shape == (2, backbone.out_dim)
    assert backbone.map_dim == 0
    with pytest.raises(ValueError, match="no spatial map"):
        backbone.to_map(backbone.run_stages(pictures(backbone)))


def test_timm_is_imported_when_a_backbone_is_made_and_not_before() -> None:
    code = "import sys, fashreg.backbones.timm; assert 'timm' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(timm.__file__).parents[1]).returncode == 0

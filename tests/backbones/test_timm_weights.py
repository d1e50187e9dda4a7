"""Weights of TimmBackbone: from a file or the Hub's cache, strictly, and never a pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fashreg.backbones.timm import TimmBackbone
from fashreg.errors import ModelError
from fashreg.testing.backbone import pictures
from fashreg.testing.state import shaken

MODEL = "mobilenetv3_small_050"


def saved(path: Path, model: str = MODEL, **changes: torch.Tensor | None) -> Path:
    """A weight file as timm publishes it, classifier included; changes: tensors to set or (None) to leave out."""
    network = timm.create_model(model, num_classes=10)
    shaken(network)
    state = {name.replace("__", "."): tensor for name, tensor in {**network.state_dict(), **changes}.items()}
    save_file({name: tensor.contiguous() for name, tensor in state.items() if tensor is not None}, path)
    return path


def test_a_file_gives_the_features_of_the_network_it_was_saved_from(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    network = timm.create_model(MODEL, num_classes=10).eval()
    shaken(network)
    timm.models.load_checkpoint(network, path)
    backbone = TimmBackbone(MODEL, path, image_size=64).eval()
    images = pictures(backbone)
    with torch.no_grad():
        wanted = network.forward_head(network.forward_features(images), pre_logits=True)
        assert torch.equal(backbone(images), wanted)


def test_a_file_serves_a_network_that_is_cut(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors")
    whole = TimmBackbone(MODEL, str(path), image_size=64).eval()
    cut = TimmBackbone(MODEL, str(path), image_size=64, last_stage="blocks.1").eval()
    images = pictures(whole)
    assert torch.equal(cut.run_stages(images), whole.run_stages(images, 0, 3))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"conv_stem.weight": None}, "conv_stem.weight"),
        ({"something.else": torch.zeros(2)}, "something.else"),
        ({"conv_stem.weight": torch.zeros(3, 3)}, "conv_stem.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], named: str
) -> None:
    path = saved(tmp_path / "w.safetensors", **changes)
    with pytest.raises(ModelError, match=f"do not fit {MODEL}.*(?s:.*){named}"):
        TimmBackbone(MODEL, path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="these weights do not fit resnet18"):
        TimmBackbone("resnet18", saved(tmp_path / "w.safetensors"))


def test_position_tables_are_resized_to_another_picture_size(tmp_path: Path) -> None:
    model = "vit_tiny_patch16_224"
    path = saved(tmp_path / "w.safetensors", model)
    backbone = TimmBackbone(model, path, image_size=48, last_stage="blocks.0")
    file = {"file": str(path)}
    network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=file, img_size=48, num_classes=0)
    assert torch.equal(backbone.net.pos_embed, network.pos_embed)


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.pt", "w.ckpt"])
def test_a_pickle_is_refused_unopened_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ModelError, match=r"is a pickle.*give a \.safetensors file"):
        TimmBackbone(MODEL, tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"cos\nsystem\n(S'exit 1'\ntR."])
def test_a_file_that_only_calls_itself_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="is not a whole"):
        TimmBackbone(MODEL, tmp_path / "w.safetensors")


def test_a_checkpoint_archive_renamed_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.safetensors", "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ModelError, match="is not a whole"):
        TimmBackbone(MODEL, tmp_path / "w.safetensors")


def test_a_missing_file_is_named_with_what_weights_may_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'weights is "hub", a \.safetensors file, or None'):
        TimmBackbone(MODEL, tmp_path / "none.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache in an empty folder, with the network switched off."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def cached(hub: Path, repo: str) -> Path:
    """The folder in which the Hub's client keeps one revision of a repository."""
    revision = "0123456789" * 4
    folder = hub / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots" / revision).mkdir(parents=True)
    return folder / "snapshots" / revision


def test_without_a_connection_the_error_says_what_was_asked_and_what_to_type(hub: Path) -> None:
    with pytest.raises(ModelError) as caught:
        TimmBackbone("resnet18.a1_in1k")
    message = str(caught.value)
    assert "weights of resnet18.a1_in1k" in message
    assert "timm/resnet18.a1_in1k/model.safetensors" in message
    assert "HF_HUB_OFFLINE" in message
    assert ".safetensors file, or None" in message


def test_weights_in_the_cache_need_no_connection(hub: Path) -> None:
    name = f"{MODEL}.lamb_in1k"
    path = saved(cached(hub, f"timm/{name}") / "model.safetensors")
    images = torch.rand(1, 3, 64, 64)
    from_hub, from_file = TimmBackbone(name).eval(), TimmBackbone(name, path).eval()
    assert torch.equal(from_hub(images), from_file(images))


def test_a_repository_that_holds_only_a_pickle_is_refused(hub: Path) -> None:
    (cached(hub, f"timm/{MODEL}.lamb_in1k") / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ModelError, match="could not be had from the Hub"):
        TimmBackbone(f"{MODEL}.lamb_in1k")


def test_a_network_that_the_hub_has_no_weights_of_says_so(hub: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights of mnasnet_050.*None \(null\)"):
        TimmBackbone("mnasnet_050")

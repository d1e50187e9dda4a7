"""Weights of a CLIP: from a file, by tag and from the Hub with the real client, and never out of a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from famevil_small import KINDS
from fashreg_famevil.backbone import FameViLBackbone
from fashreg_famevil.models import OWN, plain_clip
from fashreg_famevil.tokens import tokens_of
from fashreg_famevil.weights import from_transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from fashreg.errors import ModelError, OptionError
from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.local_hub import LocalHub, client_of

CLIP = "ViT-tiny-for-tests"
TEXTS = ["a red dress", "stripes"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub() as server, client_of(server, tmp_path / "hf-home"):
        yield server


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small model that open_clip knows by name, with tags, as it knows its own."""
    from open_clip import factory, pretrained

    config = {**OWN["tiny"], "text_cfg": {**OWN["tiny"]["text_cfg"], "vocab_size": 49408, "context_length": 77}}
    monkeypatch.setitem(factory._MODEL_CONFIGS, CLIP, config)
    monkeypatch.setitem(factory._MODEL_CONFIGS, f"{CLIP}-gelu", {**config, "quick_gelu": False})
    mean = (0.5, 0.4, 0.3)
    tags = {
        "first": {**pretrained._pcfg(hf_hub="ann/clip/", quick_gelu=True), "mean": mean},
        "file": pretrained._pcfg(hf_hub="ann/clip/open_clip_pytorch_model.bin", quick_gelu=True),
        "pickle": pretrained._pcfg(url="https://example.org/clip.pt", quick_gelu=True),
    }
    monkeypatch.setitem(pretrained._PRETRAINED, CLIP, tags)
    monkeypatch.setitem(pretrained._PRETRAINED, f"{CLIP}-gelu", tags)
    return CLIP


def trained(model: str = "tiny") -> Any:
    """A CLIP whose every weight is its own."""
    torch.manual_seed(7)
    clip = plain_clip(model, image_size=None, context_length=None, vocabulary=None)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return clip.eval()


def stored(clip: Any, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in clip.state_dict().items()}, path)
    return path


def repository(hub: LocalHub, clip: Any, tmp_path: Path, name: str = "open_clip_model.safetensors") -> Any:
    return hub.create("ann/clip", {name: stored(clip, tmp_path / "w.safetensors").read_bytes()})


def test_a_file_is_loaded_before_adapters_are_attached(tmp_path: Path, pictures: Tensor) -> None:
    clip = trained()
    backbone = FameViLBackbone("tiny", stored(clip, tmp_path / "w.safetensors"), kinds=KINDS).eval()
    with torch.no_grad():
        for task in KINDS:
            assert torch.equal(backbone(pictures, task), clip.encode_image(pictures))
            assert torch.equal(backbone.encode_text(TEXTS, task), clip.encode_text(backbone.tokenize(TEXTS)))
    for name, parameter in backbone.trunk.named_parameters():
        if name.endswith(".scale"):
            assert parameter.tolist() == [1.0], name  # what from_pretrained of a subclass once made 0
        if ".up." in name:
            assert not parameter.any(), name


def test_a_tag_is_fetched_from_the_hub_with_its_preprocessing(
    hub: LocalHub, known: str, tmp_path: Path, pictures: Tensor
) -> None:
    clip = trained(known)
    repository(hub, clip, tmp_path)
    for tag in ("first", "file"):
        backbone = FameViLBackbone(known, tag).eval()
        with torch.no_grad():
            assert torch.equal(backbone(pictures), clip.encode_image(pictures))
            assert torch.equal(backbone.encode_text(TEXTS), clip.encode_text(open_clip.tokenize(TEXTS)))
    assert FameViLBackbone(known, "first").input_spec.mean == (0.5, 0.4, 0.3)
    fetched = [r.path for r in hub.asked("/", "GET") if r.path.endswith((".bin", ".pt", ".pth"))]
    assert fetched == []


def test_an_address_takes_a_revision_and_the_cache_is_enough_offline(
    hub: LocalHub, tmp_path: Path, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = trained()
    first = repository(hub, clip, tmp_path)
    commit = first.head
    first.put({"open_clip_model.safetensors": b"later, and broken"})
    backbone = FameViLBackbone("tiny", f"hf-hub:ann/clip@{commit}").eval()
    with torch.no_grad():
        wanted = clip.encode_image(pictures)
        assert torch.equal(backbone(pictures), wanted)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert torch.equal(FameViLBackbone("tiny", f"hf-hub:ann/clip@{commit}").eval()(pictures), wanted)


def test_what_is_not_there_is_said_with_what_to_type(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model ann/nobody.*None \(null\)"):
        FameViLBackbone("tiny", "hf-hub:ann/nobody")
    hub.create("ann/pickles", {"open_clip_pytorch_model.bin": b"\x80\x04"})
    with pytest.raises(ModelError, match="pickles are never opened"):
        FameViLBackbone("tiny", "hf-hub:ann/pickles")
    assert not hub.asked("open_clip_pytorch_model.bin", "GET")


@pytest.mark.parametrize("name", ["clip.pt", "clip.bin", "clip.pth", "clip.ckpt"])
def test_a_pickle_is_refused_unread(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(ModelError, match=r"is a pickle.*give a \.safetensors file"):
        FameViLBackbone("tiny", tmp_path / name)


def test_tags_that_cannot_be_are_refused_before_anything_is_fetched(hub: LocalHub, known: str) -> None:
    for model, weights, why in (
        ("tiny", "openai", "no weights of tiny, only random ones"),
        (known, "nonsense", "its tags are first, file, pickle"),
        (known, "pickle", "as a pickle only"),
        (f"{known}-gelu", "first", "trained with QuickGELU"),
        ("ViT-B-16", "openai", "the model is ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "open_clip knows no weights|the model is ViT-B-16"),
    ):
        with pytest.raises((OptionError, ModelError), match=why):
            FameViLBackbone(model, weights)
    assert hub.asked() == []


def test_tensors_that_are_missing_strange_or_of_another_shape_are_named(tmp_path: Path) -> None:
    whole = dict(trained().state_dict())
    for changes, said in (
        ({"logit_scale": None}, "logit_scale"),
        ({"adapter.down": torch.zeros(2)}, "adapter.down"),
        ({"text_projection": torch.zeros(3, 3)}, "text_projection"),
    ):
        state = {name: tensor.contiguous() for name, tensor in {**whole, **changes}.items() if tensor is not None}
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=rf"do not fit tiny: .*{said}"):
            FameViLBackbone("tiny", tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a whole"):
        FameViLBackbone("tiny", tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="no weight file"):
        FameViLBackbone("tiny", tmp_path / "gone.safetensors")


def test_fewer_merges_and_shorter_texts_keep_the_rows_of_their_tokens(known: str, tmp_path: Path) -> None:
    clip = trained(known)
    backbone = FameViLBackbone(
        known, stored(clip, tmp_path / "w.safetensors"), vocabulary=800, context_length=20
    ).eval()
    rows = backbone.trunk.clip.token_embedding.weight
    assert torch.equal(rows[:798], clip.token_embedding.weight[:798])
    assert torch.equal(rows[798:], clip.token_embedding.weight[-2:])
    letters = tokens_of(800).encode(TEXTS, 20)
    whole = torch.where(letters >= 798, letters - 800 + 49408, letters)
    with torch.no_grad():
        padded = torch.nn.functional.pad(whole, (0, 57))
        assert torch.allclose(backbone.encode_text(TEXTS), clip.encode_text(padded), atol=1e-5)


def test_another_picture_size_interpolates_positions_as_open_clip_does(tmp_path: Path) -> None:
    clip = trained()
    backbone = FameViLBackbone("tiny", stored(clip, tmp_path / "w.safetensors"), image_size=48)
    state = dict(clip.state_dict())
    open_clip.factory.resize_pos_embed(state, backbone.trunk.clip)
    assert torch.equal(backbone.trunk.clip.visual.positional_embedding, state["visual.positional_embedding"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_read_for_any_picture_size(dtype: torch.dtype, tmp_path: Path) -> None:
    halves = {name: value.to(dtype).contiguous() for name, value in trained().state_dict().items()}
    whole = {name: value.float() for name, value in halves.items()}
    for name, state in (("halves", halves), ("whole", whole)):
        save_file(state, tmp_path / f"{name}.safetensors")
    for size in (32, 48):
        one, other = (
            FameViLBackbone("tiny", tmp_path / f"{name}.safetensors", image_size=size).trunk.clip.state_dict()
            for name in ("halves", "whole")
        )
        assert all(torch.equal(one[name], value) for name, value in other.items())
        assert {value.dtype for value in one.values()} == {torch.float32}


def test_a_saved_model_needs_no_weights_and_says_where_they_came_from(tmp_path: Path, pictures: Tensor) -> None:
    from famevil_small import small_head

    from fashreg.encoder import Encoder

    path = stored(trained(), tmp_path / "w.safetensors")
    encoder = Encoder(FameViLBackbone("tiny", path, kinds=KINDS, context_length=24), small_head())
    folder = save_encoder(encoder, tmp_path / "model")
    path.unlink()
    config = json.loads((folder / "config.json").read_text())["backbone"]["config"]
    assert config["weights"] == "w.safetensors"
    loaded = load_encoder(folder)
    assert torch.equal(loaded.embed(pictures, task="find"), encoder.embed(pictures, task="find"))


# ---- transformers, as an oracle and as a source ----


def theirs(tmp_path: Path) -> Any:
    import transformers

    text, picture = OWN["tiny"]["text_cfg"], OWN["tiny"]["vision_cfg"]
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": text["vocab_size"],
            "hidden_size": text["width"],
            "intermediate_size": 4 * text["width"],
            "num_hidden_layers": 2,
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["context_length"],
            "bos_token_id": 1022,
            "eos_token_id": 1023,
            "pad_token_id": 1023,
        },
        vision_config={
            "hidden_size": picture["width"],
            "intermediate_size": 4 * picture["width"],
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=32,
    )
    torch.manual_seed(3)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "clip", safe_serialization=True)
    return model


def test_a_clip_of_transformers_is_read_and_gives_what_it_gives_there(
    tmp_path: Path, hub: LocalHub, pictures: Tensor
) -> None:
    model = theirs(tmp_path)
    file = tmp_path / "clip" / "model.safetensors"
    hub.create("ann/clip", {"model.safetensors": file.read_bytes()})
    with torch.no_grad():
        image = model.visual_projection(model.vision_model(pictures).pooler_output)
        for weights in (file, "hf-hub:ann/clip"):
            backbone = FameViLBackbone("tiny", weights, kinds=KINDS).eval()
            assert torch.allclose(backbone(pictures, "find"), image, atol=1e-5)
        numbers = backbone.tokenize(TEXTS)
        places = torch.arange(numbers.shape[1]) <= numbers.argmax(1, keepdim=True)
        padded = torch.where(places, numbers, 1023)  # there padding is the end of the text again
        hidden = model.text_model(input_ids=padded, attention_mask=places.long())
        text = model.text_projection(hidden.pooler_output)
        assert torch.allclose(backbone.encode_text(TEXTS, "find"), text, atol=1e-5)
        assert sum(p.numel() for p in backbone.trunk.clip.parameters()) == sum(p.numel() for p in model.parameters())


def test_a_strange_tensor_in_their_layout_is_named(tmp_path: Path) -> None:
    theirs(tmp_path)
    state = load_file(tmp_path / "clip" / "model.safetensors")
    state["vision_model.encoder.layers.0.self_attn.gate.weight"] = torch.zeros(1)
    assert "visual.transformer.resblocks.0.self_attn.gate.weight" in from_transformers(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="gate"):
        FameViLBackbone("tiny", tmp_path / "w.safetensors")

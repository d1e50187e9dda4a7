"""Text vectors: words of a name, a small CLIP made here, and models that were saved with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from fashreg_mclfir.attention import AttributeAttentionHead
from fashreg_mclfir.text import text_vector, words_of
from safetensors.torch import load_file, save_file

import fashreg
from fashreg import registry
from fashreg.assembly import told_by
from fashreg.backbones.timm import TimmBackbone
from fashreg.encoder import Encoder
from fashreg.errors import ModelError, OptionError
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.storage import save_encoder

WIDTH = 16
CONFIG = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the random weights of a tiny CLIP that open_clip then knows as `tiny`."""
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    state = open_clip.create_model("tiny", pretrained=None).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "tiny.safetensors")
    return str(folder / "tiny.safetensors")


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    text_vector.cache_clear()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("skirt_length", ("skirt", "length")),
        ("texture-related", ("texture", "related")),
        ("clothes color", ("clothes", "color")),
        ("sleeve shape", ("sleeve", "shape")),
        ("gender", ("gender",)),
        ("  upper/body. type ", ("upper", "body", "type")),
    ],
)
def test_a_name_is_split_into_words_never_into_letters(name: str, words: tuple[str, ...]) -> None:
    assert words_of(name) == words


def test_a_name_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'_-' holds no word"):
        words_of("_-")


def test_the_vector_is_the_sum_of_the_words_features_not_normalised(weights: str) -> None:
    import open_clip

    model = open_clip.create_model("tiny", pretrained=None).eval()
    model.load_state_dict(load_file(weights))
    tokens = open_clip.get_tokenizer("tiny")
    with torch.no_grad():
        wanted = sum(model.encode_text(tokens([word]))[0] for word in ("skirt", "length"))
    before = torch.get_rng_state()
    found = text_vector("skirt_length", "tiny", weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.shape == (WIDTH,)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found.norm(), torch.ones(()))
    assert not torch.allclose(found, text_vector("skirt_colour", "tiny", weights))


def encoder(weights: str | None) -> Encoder:
    backbone = TimmBackbone("test_efficientnet", None, image_size=32)
    pattern = AttributeAttentionHead(
        8, vector="text", text_dim=WIDTH, text_model="tiny", text_weights=weights, in_dim=backbone.map_dim
    )
    return Encoder(backbone, MultiTaskHead(("skirt_length", "colour"), pattern)).eval()


def test_every_task_has_the_vector_of_its_own_name_which_is_not_trained(weights: str) -> None:
    head = encoder(weights).head
    for task in head.tasks:
        assert torch.equal(head.head_of(task).text, text_vector(task, "tiny", weights))
    assert not any("text" in name.split(".") for name, _ in head.named_parameters())
    assert any(name.endswith(".text") for name in head.state_dict())


class NoClip:
    """Makes every import of open_clip fail."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "open_clip":
            raise ImportError("not installed")


def without_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    from fashreg_mclfir import text

    text._tower.cache_clear()
    monkeypatch.setattr(sys, "meta_path", [NoClip(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_saved_model_has_its_vectors_and_asks_nobody_for_them(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, pictures = encoder(weights), torch.rand(2, 3, 32, 32)
    save_encoder(made, tmp_path / "model")
    assert weights not in (tmp_path / "model" / "config.json").read_text("utf-8")
    without_clip(monkeypatch)
    found = fashreg.load(tmp_path / "model")
    for task in made.head.tasks:
        assert torch.equal(found(pictures, task), made(pictures, task))
        assert found.fingerprint(task) == made.fingerprint(task)
    assert found.fingerprint() == made.fingerprint()
    assert "open_clip" not in sys.modules


def test_a_task_added_to_a_loaded_model_says_that_its_text_is_unknown_and_what_to_type(
    weights: str, tmp_path: Path
) -> None:
    save_encoder(encoder(weights), tmp_path / "model")
    found = fashreg.load(tmp_path / "model")
    found.head.add_task("season")
    with pytest.raises(ValueError, match="text vector of 'season' is not known"):
        found(torch.rand(1, 3, 32, 32), "season")
    save_encoder(found, tmp_path / "unknown")
    with pytest.raises(ValueError, match="text vector of 'season' is not known"):
        fashreg.load(tmp_path / "unknown")(torch.rand(1, 3, 32, 32), "season")
    again = fashreg.load(tmp_path / "model")
    again.head.head.text_weights = weights
    again.head.add_task("season")
    assert torch.equal(again.head.head_of("season").text, text_vector("season", "tiny", weights))


def test_a_folder_cannot_have_text_fetched(weights: str) -> None:
    spec = {"name": "attribute-attention", "vector": "text", "text_weights": "openai", "task": "colour", "in_dim": 4}
    with told_by("a folder"), pytest.raises(OptionError, match="reach text_weights='openai'"):
        fashreg.build("head", {"name": "multi-task", "tasks": ["colour"], "head": spec})


def test_without_open_clip_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without_clip(monkeypatch)
    with pytest.raises(OptionError, match=r"pip install 'fashreg-mclfir\[text\]'"):
        text_vector("colour", "ViT-B-16", "openai")
    assert registry.find("head", "attribute-attention").plugin == "fashreg-mclfir"


def test_a_model_that_open_clip_does_not_know_is_named() -> None:
    with pytest.raises(OptionError, match="cannot make no-such-model"):
        text_vector("colour", "no-such-model", "openai")


def test_a_pickle_of_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match="is a pickle"):
        text_vector("colour", "ViT-B-16", str(tmp_path / "clip.pt"))


def test_weights_that_lack_a_tensor_are_refused(weights: str, tmp_path: Path) -> None:
    state = load_file(weights)
    del state["text_projection"]
    save_file(state, tmp_path / "most.safetensors")
    with pytest.raises(OptionError, match=r'(?s)cannot make tiny.*Missing key.*"text_projection"'):
        text_vector("colour", "tiny", str(tmp_path / "most.safetensors"))


def test_a_vector_of_another_width_is_refused_with_both_widths(weights: str) -> None:
    with pytest.raises(ValueError, match=r"a text vector of \(16,\).*text_dim=512"):
        AttributeAttentionHead(in_dim=4, vector="text", task="a", text_model="tiny", text_weights=weights)
    with pytest.raises(ValueError, match="vector='learnt'"):
        AttributeAttentionHead(in_dim=4).tell(torch.zeros(512))

"""Which CLIPs the adapters fit to, and how one is made: open_clip's by their names, and two of our own for CPUs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

import torch

from fashreg.errors import OptionError

#: Small enough to be trained from nothing on a CPU: seconds with "tiny", minutes with "small". No weights exist.
OWN: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 56, "vocab_size": 1024, "width": 48, "heads": 4, "layers": 2},
    },
    "small": {
        "embed_dim": 128,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 192, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 48, "vocab_size": 2048, "width": 128, "heads": 4, "layers": 4},
    },
}


def config_of(model: str) -> dict[str, Any]:
    """The configuration of a model whose towers are plain transformers of equal depth; OptionError for any other."""
    import open_clip

    known = open_clip.list_models()
    if model in OWN:
        return deepcopy(OWN[model])
    if model not in known:
        near = get_close_matches(model, [*OWN, *known], n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see open_clip.list_models()"
        raise OptionError(f"open_clip has no model {model!r}; {hint}", field="model")
    config: dict[str, Any] = open_clip.get_model_config(model)
    if why := _why_not(config):
        raise OptionError(
            f"{model} cannot take the adapters: {why}; choose a CLIP with two plain towers of equal depth, e.g. "
            "ViT-B-16-quickgelu, ViT-B-32-quickgelu (or tiny, small)",
            field="model",
        )
    return config


def plain_clip(model: str, *, image_size: int | None, context_length: int | None, vocabulary: int | None) -> Any:
    """The CLIP with random weights, from the global random state. None: as its configuration says."""
    import open_clip

    config = config_of(model)
    given = {"context_length": context_length, "vocab_size": vocabulary}
    config["text_cfg"].update({name: value for name, value in given.items() if value is not None})
    if image_size is not None:
        patch = config["vision_cfg"]["patch_size"]
        if image_size % patch:
            raise ValueError(f"image_size must be a multiple of {patch}, the patches of {model}, not {image_size}")
        config["vision_cfg"]["image_size"] = image_size
    return open_clip.CLIP(
        config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=config.get("quick_gelu", False)
    )


@contextmanager
def seeded(*said: object) -> Iterator[None]:
    """Random numbers that depend on what is said alone; the global random state is put back."""
    number = int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[:7], "big")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number)
        yield


def _why_not(config: dict[str, Any]) -> str:
    """What keeps the adapters from fitting, "" when they do."""
    picture, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in picture or not isinstance(picture.get("layers", 12), int):
        return "its picture tower is not a ViT of open_clip"
    if "hf_model_name" in text or config.get("custom_text") or "multimodal_cfg" in config:
        return "its text tower is not the plain one of CLIP"
    if "hf_tokenizer_name" in text or text.get("pool_type", "argmax") != "argmax" or text.get("no_causal_mask"):
        return "its text tower does not read CLIP's tokens as CLIP does"
    if (one := picture.get("layers", 12)) != (other := text.get("layers", 12)):
        return f"the way across pairs blocks one to one, and there are {one} for pictures and {other} for texts"
    return ""

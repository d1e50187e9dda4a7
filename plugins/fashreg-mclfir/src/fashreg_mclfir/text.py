"""The name of an attribute as a vector: its words through the text tower of a CLIP model, added up."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fashreg.backbones.weights import PICKLES, read_state
from fashreg.errors import OptionError


def words_of(name: str) -> tuple[str, ...]:
    """The words of an attribute's name: "skirt_length" -> skirt, length; "clothes color" -> clothes, color."""
    words = tuple(word for word in re.split(r"[\W_]+", name) if word)
    if not words:
        raise ValueError(f"the attribute's name {name!r} holds no word")
    return words


@functools.lru_cache(maxsize=1024)
def text_vector(name: str, model: str, weights: str) -> Tensor:
    """Sum over the words of their projected text features, (D,), not normalised.

    model: name of an open_clip model. weights: a tag that open_clip knows for it (it fetches them), or a .safetensors
    file with the whole model's state. Raises OptionError where open_clip is missing or knows none of it.
    """
    tower, tokens = _tower(model, weights)
    with torch.no_grad():
        vectors: Tensor = tower.encode_text(tokens(list(words_of(name))))
    return vectors.float().sum(0)


@functools.lru_cache(maxsize=1)
def _tower(model: str, weights: str) -> tuple[Any, Any]:
    """The text tower in evaluation mode, and what makes tokens; its picture tower is dropped."""
    try:
        import open_clip
    except ImportError:
        raise OptionError(
            "text vectors need open_clip: pip install 'fashreg-mclfir[text]' (or vector: learnt, which needs nothing)",
            field="vector",
        ) from None
    state = read_state(Path(weights)) if Path(weights).suffix in (".safetensors", *PICKLES) else None
    try:
        with torch.random.fork_rng(devices=[]):
            whole = open_clip.create_model(model, pretrained=None if state else weights)
        if state:
            whole.load_state_dict(state, strict=True)
        tokens = open_clip.get_tokenizer(model)
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise OptionError(
            f"open_clip cannot make {model} with weights {weights}: {error}", field="text_model"
        ) from None
    whole.visual = nn.Identity()
    return whole.eval().requires_grad_(False), tokens

"""Weights of a CLIP: by open_clip's tag or from the Hub, or a file. Safetensors only: nothing is ever unpickled."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fashreg.backbones.weights import PICKLES, read_state
from fashreg.errors import HubError, HubOfflineError, ModelError, OptionError
from fashreg.hub.address import parse_address
from fashreg.hub.client import hub_api, translated, with_retries
from fashreg_famevil.models import OWN, config_of
from fashreg_famevil.tokens import WHOLE

HUB = "hf-hub:"
#: Files that may hold the weights, as open_clip and as transformers write them.
NAMES = ("open_clip_model.safetensors", "model.safetensors")
_WAYS = "give weights a .safetensors file, or None (null) for random weights"


def tag_of(model: str, weights: str | Path | None) -> dict[str, Any]:
    """What open_clip says about a tag of a model (mean, std, repository); {} for a file, the Hub and none.

    Raises OptionError for a tag that it does not know, or whose activation is another than the model's.
    """
    import open_clip

    if weights is None or str(weights).startswith(HUB) or Path(weights).suffix in (".safetensors", *PICKLES):
        return {}
    if model in OWN:
        why = f"there are no weights of {model}, only random ones: --set backbone.weights=null"
        raise OptionError(why, field="weights")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags:
        offered = f"its tags are {', '.join(tags)}" if tags else "it has none"
        raise OptionError(f"open_clip knows no weights {weights!r} of {model}: {offered}; {_WAYS}", field="weights")
    tag: dict[str, Any] = open_clip.get_pretrained_cfg(model, str(weights))
    quick = bool(tag.get("quick_gelu"))
    if quick != bool(config_of(model).get("quick_gelu")):
        other = f"{model}-quickgelu" if quick else model.removesuffix("-quickgelu")
        raise OptionError(
            f"the weights {weights!r} were trained with {'QuickGELU' if quick else 'GELU'} and {model} has another "
            f"activation: the model is {other}",
            field="model",
        )
    return tag


def load_weights(clip: Any, model: str, weights: str | Path) -> None:
    """Put weights into a CLIP, strictly; ModelError for what cannot be had, read or fitted."""
    if Path(weights).suffix in (".safetensors", *PICKLES) and not str(weights).startswith(HUB):
        state = read_state(Path(weights))
    else:
        state = read_state(_fetched(_address(model, str(weights))))
    state = _fitted(from_transformers(state), clip)
    try:
        clip.load_state_dict(state, strict=True)
    except RuntimeError as error:
        said = [line.strip() for line in str(error).splitlines()[1:4]]
        raise ModelError(f"the weights {weights} do not fit {model}: {' '.join(said)}") from error


def _address(model: str, weights: str) -> str:
    """`user/name` or `user/name@REVISION` of weights that are asked for by tag or by address."""
    if weights.startswith(HUB):
        return weights.removeprefix(HUB)
    place = str(tag_of(model, weights).get("hf_hub", ""))  # of a repository, or of a file in one
    if not place:
        raise ModelError(f"open_clip has the weights {weights!r} of {model} as a pickle only; {_WAYS}")
    return "/".join(place.split("/")[:2])


def from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of transformers' CLIPModel under open_clip's names; a state that is none comes back as it is."""
    if "vision_model.embeddings.class_embedding" not in state:
        return state
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("position_ids"):
            continue
        if name in _SINGLE:
            made[_SINGLE[name]] = tensor
        elif name in ("visual_projection.weight", "text_projection.weight"):
            made["visual.proj" if name[0] == "v" else "text_projection"] = tensor.T.contiguous()
        elif layer := _LAYER.fullmatch(name):
            tower = "visual.transformer" if layer["tower"] == "vision" else "transformer"
            part = _PARTS.get(layer["part"], layer["part"])
            made[f"{tower}.resblocks.{layer['number']}.{part}.{layer['kind']}"] = tensor
        else:
            made[name] = tensor  # strange: the strict load will name it
    for name in [name for name in made if ".attn.q_proj." in name]:
        parts = [made.pop(name.replace("q_proj", f"{letter}_proj"), torch.empty(0)) for letter in "qkv"]
        made[name.replace("q_proj.", "in_proj_")] = torch.cat(parts)
    return made


_LAYER = re.compile(
    r"(?P<tower>vision|text)_model\.encoder\.layers\.(?P<number>\d+)\.(?P<part>.+)\.(?P<kind>weight|bias)"
)
_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    **{f"self_attn.{part}": f"attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "out_proj")},
}
_SINGLE = {
    "logit_scale": "logit_scale",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    **{f"vision_model.pre_layrnorm.{kind}": f"visual.ln_pre.{kind}" for kind in ("weight", "bias")},
    **{f"vision_model.post_layernorm.{kind}": f"visual.ln_post.{kind}" for kind in ("weight", "bias")},
    **{f"text_model.final_layer_norm.{kind}": f"ln_final.{kind}" for kind in ("weight", "bias")},
}


def _fitted(state: dict[str, Tensor], clip: Any) -> dict[str, Tensor]:
    """A state for another picture size, a shorter text and fewer merges: positions and tokens that are left."""
    from open_clip.factory import resize_pos_embed

    fitted = dict(state)
    if (places := fitted.get("visual.positional_embedding")) is not None:
        fitted["visual.positional_embedding"] = places.float()  # half precision is not interpolated on CPUs
    resize_pos_embed(fitted, clip)
    if "positional_embedding" in fitted:
        fitted["positional_embedding"] = fitted["positional_embedding"][: clip.context_length]
    tokens = fitted.get("token_embedding.weight")
    if tokens is not None and len(tokens) == WHOLE and clip.vocab_size < WHOLE:
        fitted["token_embedding.weight"] = torch.cat([tokens[: clip.vocab_size - 2], tokens[-2:]])
    return fitted


def _fetched(text: str) -> Path:
    """The weights file of `user/name` or `user/name@REVISION`, from the cache or the Hub."""
    address, first = parse_address(text), None
    for name in NAMES:
        try:
            with translated(address.repo, address.revision):
                return Path(with_retries(partial(_download, address.repo, name, address.revision)))
        except HubError as error:
            if error.status != 404 and not isinstance(error, HubOfflineError):
                raise ModelError(f"the weights of {text} could not be had: {error}; {_WAYS}") from error
            first = first or error
    raise ModelError(
        f"{text} gives no weights as safetensors ({' or '.join(NAMES)}), and pickles are never opened: {first}; {_WAYS}"
    ) from first


def _download(repo: str, name: str, revision: str | None) -> str:
    return str(hub_api().hf_hub_download(repo, name, revision=revision))

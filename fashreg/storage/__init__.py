"""An encoder as a folder: config.json, model.safetensors, README.md, recipe.yaml, manifest.json. Nothing is executed.

Written whole or not at all; read only after the sha256 of every file, the config, and the header of the weights were
checked. Components are named, and found among the installed plugins only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from fashreg import __version__, assembly
from fashreg.encoder import Encoder
from fashreg.errors import FashregError, ModelError
from fashreg.manifest import Manifest, verify_folder, write_folder_atomically
from fashreg.storage.budget import Budget
from fashreg.storage.card import model_card
from fashreg.storage.model_config import FORMAT, ComponentSpec, ModelConfig, read_model_config
from fashreg.strict_json import write_json
from fashreg.strict_tensors import MAX_HEADER, TensorRecord, read_header, read_tensors, write_tensors
from fashreg.strict_yaml import read_yaml

KIND = "model"
CONFIG, WEIGHTS, CARD, RECIPE = "config.json", "model.safetensors", "README.md", "recipe.yaml"
_DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def save_encoder(
    encoder: Encoder,
    folder: str | Path,
    *,
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, or replace one that fashreg wrote; killed on the way, the old one stays whole.

    recipe: as plain data, kept as recipe.yaml. metrics: numbers by name, for the model card. provenance: plain data on
    how the model came about (data fingerprint, loss, seed, ...). Returns the folder.
    Raises ModelError for weights that are not finite or not float32, ComponentError for a class no plugin offers.
    """
    config = ModelConfig(
        format=FORMAT,
        fashreg=__version__,
        backbone=_spec(encoder.backbone),
        head=_spec(encoder.head),
        input_spec=asdict(encoder.input_spec),  # type: ignore[arg-type]
        embed_dim=encoder.embed_dim,
        provenance={**(provenance or {}), **({"metrics": dict(metrics)} if metrics else {})},
    )
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in encoder.state_dict().items()}
    for name, tensor in weights.items():
        if tensor.dtype not in _DTYPES:
            raise ModelError(f"{name} is {tensor.dtype}; models are saved in float32: call encoder.float() first")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds NaN or infinity; such a model is not saved")
    with write_folder_atomically(Path(folder), kind=KIND) as fresh:
        write_json(fresh / CONFIG, config.model_dump(mode="json"))
        write_tensors(fresh / WEIGHTS, weights)
        (fresh / CARD).write_text(model_card(config, metrics, recipe), encoding="utf-8", newline="\n")
        if recipe is not None:
            text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
            (fresh / RECIPE).write_text(text, encoding="utf-8", newline="\n")
    return Path(folder)


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder of a model folder, in evaluation mode, on the CPU. Equal embeddings to the one that was saved.

    Raises ModelError naming the file, field or tensor that is wrong, and the errors of `fashreg.build` for a component
    that no installed plugin offers.
    """
    return encoder_from(verify_folder(Path(folder), kind=KIND))


def untrained_from(manifest: Manifest) -> Encoder:
    """The encoder that a model folder describes, before its weights are looked at: they need not be there yet.

    What cannot be made here, or is far larger or smaller than its weights file, is refused.
    """
    encoder = _assembled(read_model_config(manifest.path(CONFIG)), manifest)
    size, least = manifest.files[WEIGHTS].bytes, sum(t.numel() * t.itemsize for t in encoder.state_dict().values())
    if not least <= size <= least + MAX_HEADER + 8:
        raise ModelError(
            f"{manifest.path(CONFIG)} describes a model of {least:,} bytes, and its {WEIGHTS} has {size:,}: it is "
            "damaged, or not what it says"
        )
    return encoder


def encoder_from(manifest: Manifest, untrained: Encoder | None = None) -> Encoder:
    """As `load_encoder`, for a folder whose files were held against their manifest. untrained: made from the same."""
    config = read_model_config(manifest.path(CONFIG))
    read_header(manifest.path(WEIGHTS))
    encoder = _assembled(config, manifest) if untrained is None else untrained
    _fill(encoder, manifest)
    if encoder.embed_dim != config.embed_dim:
        raise ModelError(
            f"{manifest.folder}: config.json says embed_dim {config.embed_dim}, the head gives {encoder.embed_dim}"
        )
    if hasattr(encoder.backbone, "weights"):
        encoder.backbone.weights = config.backbone.config.get("weights")  # where they came from; nothing was fetched
    return encoder.eval()


def load_weights(encoder: Encoder, folder: str | Path) -> None:
    """Put the weights of a model folder into an encoder that was made alike."""
    _fill(encoder, verify_folder(Path(folder), kind=KIND))


def read_provenance(folder: str | Path) -> dict[str, Any]:
    """How the model of a folder came about: what was given to `save_encoder`, with `recipe` when there is one."""
    names = (CONFIG,)
    manifest = verify_folder(Path(folder), kind=KIND, names=names)
    found = dict(read_model_config(manifest.path(CONFIG)).provenance)
    if RECIPE in manifest.files:
        verify_folder(Path(folder), kind=KIND, names=(RECIPE,))
        try:
            found["recipe"] = read_yaml(manifest.path(RECIPE).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ModelError(f"{manifest.path(RECIPE)} is not plain YAML: {error}") from None
    return found


def _spec(component: Any) -> ComponentSpec:
    spec = assembly.spec_of(component)
    source = spec["config"].get("weights")
    if isinstance(source, str) and os.path.exists(source):
        spec["config"]["weights"] = os.path.basename(source)  # the name is provenance, the folder is nobody's business
    return ComponentSpec(**spec)


def _fill(encoder: Encoder, manifest: Manifest) -> None:
    encoder.load_state_dict(read_tensors(manifest.path(WEIGHTS), expected=_records(encoder)), strict=True)


def _records(encoder: Encoder) -> dict[str, TensorRecord]:
    """What the weights file must hold, exactly."""
    state = encoder.state_dict()
    return {name: TensorRecord(_DTYPES.get(t.dtype, str(t.dtype)), tuple(t.shape)) for name, t in state.items()}


def _assembled(config: ModelConfig, manifest: Manifest) -> Encoder:
    """The encoder with untrained weights; the global random state is left as it was."""
    budget = Budget(4 * manifest.files[WEIGHTS].bytes + 2**29, str(manifest.path(CONFIG)))
    try:
        with budget, torch.random.fork_rng(devices=[]):
            backbone = assembly.build("backbone", _without_weights(config.backbone))
            head = assembly.build("head", config.head.model_dump())
            return Encoder(backbone, head, input_spec=config.spec())
    except (RuntimeError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError) as error:
        if isinstance(error, FashregError):
            raise
        raise ModelError(f"{manifest.path(CONFIG)} describes a model that cannot be made: {error}") from error


def _without_weights(spec: ComponentSpec) -> dict[str, Any]:
    plain = spec.model_dump()
    if "weights" in plain["config"]:
        plain["config"]["weights"] = None
    return plain

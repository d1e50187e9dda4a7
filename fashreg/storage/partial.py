"""A model of which only what differs from another one is stored: a head, adapters, whatever training has moved.

config.json names the other model, its base, by repository, commit and fingerprint. Tensors that the weights file does
not hold are the base's, to the bit. The base is a model like any other: it is fetched, checked and cached as such, and
may have a base of its own.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fashreg.encoder import Encoder
from fashreg.errors import ModelError
from fashreg.hub.address import SCHEME, is_address
from fashreg.hub.client import Token
from fashreg.storage.model_config import BaseConfig

_MOST = 4  # bases of bases
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("depth", default=0)


@dataclass(frozen=True, slots=True)
class Access:
    """How the Hub is asked for a base; the words are those of `fashreg.load`."""

    token: Token = field(default=None, repr=False)
    local_files_only: bool = False
    cache_dir: str | Path | None = None


def what_differs(weights: Mapping[str, Tensor], base: str, access: Access) -> tuple[dict[str, Tensor], BaseConfig]:
    """The tensors that the base does not have to the bit, and the base, pinned.

    base: "user/name" or "user/name@REVISION"; its present commit is what is kept. Raises ModelError for a base that is
    not on the Hub, or that shares nothing with the weights.
    """
    if not is_address(base):
        raise ModelError(f"base {base!r} must be on the Hub, where others find it too: USER/NAME or USER/NAME@REVISION")
    found = _opened(base, access)
    assert found.origin is not None, base
    theirs = found.state_dict()
    own = {name: tensor for name, tensor in weights.items() if not _same(tensor, theirs.get(name))}
    if len(own) == len(weights):
        raise ModelError(f"no tensor of this model is one of {base}: save it without base")
    return own, BaseConfig(repo=found.origin.repo, commit=found.origin.commit, fingerprint=found.fingerprint())


def tensors_of(base: BaseConfig, access: Access, *, where: Path) -> dict[str, Tensor]:
    """Every tensor of the base, which was held against its fingerprint. where: the file that names the base."""
    found = _opened(str(base), access)
    if (real := found.fingerprint()) != base.fingerprint:
        raise ModelError(
            f"{where} goes on from {base} with the fingerprint {base.fingerprint[:12]}, and that model has {real[:12]}"
        )
    return dict(found.state_dict())


def shared(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the base that fit into the model: same name, shape and type."""
    return {n: theirs[n] for n, t in mine.items() if n in theirs and _form(theirs[n]) == _form(t)}


def _opened(address: str, access: Access) -> Encoder:
    from fashreg.storage.loading import load  # which opens a model by opening its base

    on_hub = address if address.startswith(SCHEME) else SCHEME + address  # never a local folder of that name
    with _deeper(address):
        return load(on_hub, token=access.token, local_files_only=access.local_files_only, cache_dir=access.cache_dir)


@contextlib.contextmanager
def _deeper(address: str) -> Iterator[None]:
    if _depth.get() >= _MOST:
        raise ModelError(f"{address} is the base of a base, {_MOST} times over: no model is made like that")
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(token)


def _same(one: Tensor, other: Tensor | None) -> bool:
    """To the bit: the two zeros differ, and so do fingerprints."""
    if other is None or _form(one) != _form(other):
        return False
    bits, others = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(bits, others)


def _form(tensor: Tensor) -> tuple[torch.dtype, torch.Size]:
    return tensor.dtype, tensor.shape

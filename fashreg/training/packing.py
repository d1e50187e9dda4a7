"""Nested state to flat tensors and plain JSON, and back: how checkpoints are written without pickle.

A tree is made of dicts (text or whole-number keys), lists, tuples, tensors, numpy arrays, numbers, text, booleans and
None. In the JSON part `{"#tensor": name}` stands for a tensor, `{"#array": ...}` for a numpy array, `{"#tuple": [...]}`
for a tuple, `{"#items": [[key, value], ...]}` for a dict with keys that JSON does not have, `{"#float": "nan"}` for the
floats it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """(tensors by dotted name, the rest as JSON). Tensors are copies on the CPU, so the tree may change afterwards."""
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(tree, "", tensors)


def unpack(tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """The tree that `pack` took apart."""
    if isinstance(plain, list):
        return [unpack(tensors, value) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        mark, value = next(iter(plain.items()))
        if mark == "#tensor":
            return tensors[value]
        if mark == "#array":
            return tensors[value["name"]].numpy().astype(value["dtype"])
        if mark == "#tuple":
            return tuple(unpack(tensors, item) for item in value)
        if mark == "#items":
            return {key: unpack(tensors, item) for key, item in value}
        if mark == "#float":
            return float(value)
    return {key: unpack(tensors, value) for key, value in plain.items()}


def _pack(tree: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        name = _free(place, tensors)
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {"#tensor": name}
    if isinstance(tree, np.ndarray):
        name = _free(place, tensors)
        wide = tree.astype(np.int64) if np.issubdtype(tree.dtype, np.unsignedinteger) else tree
        tensors[name] = torch.from_numpy(np.ascontiguousarray(wide).copy())
        return {"#array": {"name": name, "dtype": str(tree.dtype)}}
    if isinstance(tree, Mapping):
        packed = [(key, _pack(value, f"{place}.{key}" if place else str(key), tensors)) for key, value in tree.items()]
        if all(isinstance(key, str) and not key.startswith("#") for key, _ in packed):
            return dict(packed)
        return {"#items": [[key, value] for key, value in packed]}
    if isinstance(tree, list | tuple):
        items = [_pack(value, f"{place}.{index}" if place else str(index), tensors) for index, value in enumerate(tree)]
        return {"#tuple": items} if isinstance(tree, tuple) else items
    return _leaf(tree, place)


def _leaf(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"#float": str(value)}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"state {place or 'tree'} holds a {type(value).__name__}, which a checkpoint cannot keep")


def _free(place: str, tensors: Mapping[str, Tensor]) -> str:
    """A name for the tensor at `place`; keys that look alike as text (1 and "1") get different names."""
    name, count = place or "tensor", 0
    while name in tensors:
        count += 1
        name = f"{place}~{count}"
    return name

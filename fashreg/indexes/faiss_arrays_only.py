"""FAISS's methods as they are for numpy arrays, whatever else is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def for_arrays(structure: Any, method: str) -> Callable[..., Any]:
    """A method of a FAISS object that takes and gives numpy arrays.

    `faiss.contrib.torch_utils`, which other libraries import behind a person's back, replaces methods for the whole
    process by ones that know fewer options and may answer in tensors; it keeps the first ones as `NAME_numpy`.
    """
    found: Callable[..., Any] = getattr(structure, f"{method}_numpy", None) or getattr(structure, method)
    return found

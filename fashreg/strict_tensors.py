"""safetensors files read strictly: the header is held against the file before anything is allocated.

The library itself accepts a key that occurs twice and weights that are not numbers; here both are refused, and every
mistake is a ModelError that names the file. torch is imported only when tensors are read or written.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashreg.errors import ModelError
from fashreg.strict_json import parse_json

if TYPE_CHECKING:
    from torch import Tensor

_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}
MAX_HEADER = 4 * 2**20
_MOST_AXES, _MOST_NUMBERS = 32, 2**62
_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What the header says of one tensor. dtype: "F32", "I64", ... as safetensors writes it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorRecord]:
    """Name -> dtype and shape of every tensor in a safetensors file; no tensor is read.

    ModelError unless the header fits the file to the byte: known dtypes, no name twice, no gap, no overlap, no rest.
    """
    header, body = _split(path)
    _check_metadata(path, header)
    ends: list[tuple[int, int]] = []
    records: dict[str, TensorRecord] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        record, start, end = _checked_entry(path, name, entry)
        wanted = math.prod(record.shape) * _BYTES[record.dtype]
        whole = math.prod(n or 1 for n in record.shape)
        if min(*record.shape, start, end, 0) < 0 or end - start != wanted or whole > _MOST_NUMBERS:
            raise ModelError(
                f"{path}: {name!r} has shape {record.shape} and bytes {start} to {end}, which do not agree"
            )
        records[name] = record
        ends.append((start, end))
    ends.sort()
    if [0, *(end for _, end in ends)] != [*(start for start, _ in ends), body]:
        raise ModelError(f"{path}: its header describes other bytes than the {body:,} it holds: it is damaged")
    return records


def read_metadata(path: Path) -> dict[str, str]:
    """What the header says of the whole file, text by text; {} where it says nothing."""
    return _check_metadata(path, _split(path)[0])


def read_tensors(
    path: Path, *, expected: Mapping[str, TensorRecord] | None = None, finite: bool = True
) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    expected: names, dtypes and shapes it must have, exactly. finite: refuse NaN and infinity, naming the tensor.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = read_header(path)
    if expected is not None and found != dict(expected):
        raise ModelError(f"{path} does not hold what it should: {_first_difference(found, expected)}")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    for name, tensor in tensors.items() if finite else ():
        if tensor.is_floating_point() and tensor.numel():
            low, high = torch.aminmax(tensor)
            if not (torch.isfinite(low) and torch.isfinite(high)):
                raise ModelError(f"{path}: {name!r} holds NaN or infinity")
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, detached and contiguous, as a safetensors file; equal tensors give equal bytes.

    The file gets the permissions that the person's umask gives any new file (safetensors alone would make it private).
    """
    from safetensors.torch import save_file

    rows = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    save_file(rows, path, metadata=None if metadata is None else dict(metadata))
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def _checked_entry(path: Path, name: str, entry: Any) -> tuple[TensorRecord, int, int]:
    """Dtype, shape and place of one tensor: of the right form, and no number larger than a file can be."""
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise ModelError(f"{path}: the header entry of {name!r} is not valid: it has {', '.join(sorted(_FIELDS))}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise ModelError(f"{path}: the header entry of {name!r} is not valid: no dtype {str(dtype)[:40]!r} is read")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        fits = isinstance(numbers, list) and len(numbers) <= _MOST_AXES
        if not fits or any(type(n) is not int or abs(n) > _MOST_NUMBERS for n in numbers):
            raise ModelError(f"{path}: the header entry of {name!r} is not valid: {what} {_short(numbers)}")
    if len(offsets) != 2:
        raise ModelError(f"{path}: the header entry of {name!r} is not valid: {len(offsets)} data_offsets")
    return TensorRecord(dtype, tuple(shape)), offsets[0], offsets[1]


def _check_metadata(path: Path, header: dict[str, Any]) -> dict[str, str]:
    said = header.get("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ModelError(f"{path}: its metadata is not text by name")
    return said


def _short(value: Any) -> str:
    """A value in a message; long numbers are not written out."""
    if isinstance(value, list):
        return f"of {len(value)} numbers, which must be whole and of a size that a file can have"
    return f"that is a {type(value).__name__}"


def _split(path: Path) -> tuple[dict[str, Any], int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ModelError(f"{path} is not a safetensors file, or is cut short ({size:,} bytes)")
            header = parse_json(file.read(length))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} has a header that cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} has a header that is not an object: {json.dumps(header)[:60]}")
    return header, size - 8 - length


def _first_difference(found: Mapping[str, TensorRecord], expected: Mapping[str, TensorRecord]) -> str:
    for name in sorted({*found, *expected}):
        is_, should = found.get(name), expected.get(name)
        if is_ is None:
            return f"{name!r} is missing"
        if should is None:
            return f"{name!r} is not expected"
        if is_ != should:
            return f"{name!r} is {is_.dtype} {list(is_.shape)} and should be {should.dtype} {list(should.shape)}"
    return "nothing"

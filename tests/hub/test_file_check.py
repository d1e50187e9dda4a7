"""What is a pickle and what only begins like one."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest

from fashreg.hub.file_check import is_pickle, not_ours


@pytest.mark.parametrize("length", [128, 384, 640, 896, 1152, 1408])
def test_a_tensor_file_whose_header_has_the_length_of_a_pickles_mark_is_none(tmp_path: Path, length: int) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).ljust(length)
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header.encode() + b"x")
    assert path.read_bytes()[0] == 0x80
    assert not_ours(path) == ""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_one_under_any_name(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps({"w": [1, 2, 3]}, protocol=protocol))
    assert is_pickle(path)
    assert "is a pickle" in not_ours(path)

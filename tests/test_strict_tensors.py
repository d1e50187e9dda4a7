import json

import pytest
import torch

from fashreg.errors import ModelError
from fashreg.strict_tensors import TensorRecord, read_header, read_tensors, write_tensors


def raw(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_tensors_survive_the_round_trip_bit_for_bit(tmp_path):
    tensors = {
        "b": torch.tensor([2**62, -1]),
        "a": torch.randn(3, 4).T,
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(1.5, dtype=torch.bfloat16),
        "flag": torch.tensor([True, False]),
    }
    write_tensors(tmp_path / "x", tensors)
    found = read_tensors(tmp_path / "x")
    assert {n: (v.dtype, v.shape) for n, v in found.items()} == {n: (v.dtype, v.shape) for n, v in tensors.items()}
    assert all(torch.equal(found[n], tensors[n]) for n in tensors)
    assert read_header(tmp_path / "x")["a"] == TensorRecord("F32", (4, 3))


def test_equal_tensors_give_equal_bytes(tmp_path):
    one, other = torch.zeros(2), torch.ones(3)
    write_tensors(tmp_path / "x", {"a": one, "b": other})
    write_tensors(tmp_path / "y", {"b": other, "a": one})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("cut", [0, 5, 8, 20, -1])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, cut):
    write_tensors(tmp_path / "cut.safetensors", {"a": torch.zeros(8)})
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"cut\.safetensors"):
        read_header(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": entry()}, b"\0" * 5),
        ({"a": entry(shape=(2,))}, b"\0" * 4),
        ({"a": entry(offsets=(4, 8))}, b"\0" * 8),
        ({"a": entry(), "b": entry()}, b"\0" * 4),
        ({"a": entry(), "b": entry(offsets=(2, 6))}, b"\0" * 6),
        ({"a": entry(dtype="F8_E4M3", offsets=(0, 1))}, b"\0"),
        ({"a": entry(dtype="code")}, b"\0" * 4),
        ({"a": entry(shape=(-1, -1))}, b"\0" * 4),
        ({"a": entry(shape=(1.0,))}, b"\0" * 4),
        ({"a": entry(shape=(2**60, 2**60))}, b"\0" * 4),
        ({"a": entry(offsets=(0, 4, 8))}, b"\0" * 4),
        ({"a": {"dtype": "F32"}}, b""),
        ({"a": 3}, b""),
        ([1], b""),
        (b'{"a": {}, "a": {}}', b""),
        (b"{" * 5000, b""),
        (b"\xff\xff", b""),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_read(tmp_path, header, body):
    with pytest.raises(ModelError, match="bad"):
        read_header(raw(tmp_path / "bad", header, body))


def test_a_header_of_hostile_length_is_refused(tmp_path):
    (tmp_path / "bad").write_bytes((2**62).to_bytes(8, "little") + b"{}" * 50)
    with pytest.raises(ModelError, match="bad"):
        read_header(tmp_path / "bad")
    with pytest.raises(ModelError, match="missing"):
        read_header(tmp_path / "none")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_named_unless_allowed(tmp_path, value):
    write_tensors(tmp_path / "x", {"fine": torch.zeros(2), "worst": torch.tensor([0.0, value])})
    with pytest.raises(ModelError, match="'worst' holds NaN or infinity"):
        read_tensors(tmp_path / "x")
    assert len(read_tensors(tmp_path / "x", finite=False)) == 2


@pytest.mark.parametrize(
    ("expected", "says"),
    [
        ({"a": TensorRecord("F32", (3,))}, r"'a' is F32 \[2\] and should be F32 \[3\]"),
        ({"a": TensorRecord("F64", (2,))}, "should be F64"),
        ({"a": TensorRecord("F32", (2,)), "b": TensorRecord("F32", ())}, "'b' is missing"),
        ({}, "'a' is not expected"),
    ],
)
def test_other_tensors_than_expected_are_refused(tmp_path, expected, says):
    write_tensors(tmp_path / "x", {"a": torch.zeros(2)})
    with pytest.raises(ModelError, match=says):
        read_tensors(tmp_path / "x", expected=expected)
    assert read_tensors(tmp_path / "x", expected={"a": TensorRecord("F32", (2,))})

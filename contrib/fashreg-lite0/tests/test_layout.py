"""layout.json says where each tensor lies; the tool that wrote it reads the file's opcodes as data and runs nothing."""

from __future__ import annotations

import importlib.util
import io
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fashreg_lite0.weights import weight_file

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_layout", ROOT / "tools" / "make_layout.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "src" / "fashreg_lite0" / "layout.json").read_text("utf-8"))
    return content


def test_the_shipped_layout_is_what_the_tool_writes_for_the_installed_file(tool: ModuleType) -> None:
    assert tool.layout(weight_file()) == shipped()


def test_no_two_tensors_overlap_and_all_lie_within_the_file() -> None:
    layout = shipped()
    spans = []
    for _, dtype, shape, _, offset in layout["tensors"]:
        count = 1
        for size in shape:
            count *= size
        spans.append((offset, offset + count * {"float32": 4, "int64": 8}[dtype]))
    spans.sort()
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert spans[0][0] > 0
    assert spans[-1][1] <= layout["bytes"]


def test_the_tool_calls_nothing_that_a_file_names(tool: ModuleType, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    pickled = b"\x80\x02cos\nmkdir\nX" + len(str(trap)).to_bytes(4, "little") + str(trap).encode() + b"\x85R."
    assert tool.replay(io.BytesIO(pickled)) == ("call", "os mkdir", (str(trap),))
    assert not trap.exists()


def test_the_tool_stops_at_an_opcode_it_does_not_know(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match="unexpected opcode INST"):
        tool.replay(io.BytesIO(b"(ios\nsystem\n."))

"""Write src/fashreg_lite0/layout.json: where each tensor lies in the pinned weight file, under timm's names.

Run it once per version of the weight package: `python tools/make_layout.py`. The file is a pickle followed by raw
arrays. It is never unpickled: `pickletools.genops` lists its opcodes as data (nothing is imported, called or built),
and a small stack replays the few opcodes that say name, shape and storage. Anything else stops the script.
"""

from __future__ import annotations

import hashlib
import json
import pickletools
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

WIDTHS = {"torch FloatStorage": ("float32", 4), "torch LongStorage": ("int64", 8)}
MARK = object()
# timm groups the 16 blocks of EfficientNet-Lite0 in stages of these lengths.
REPEATS = (1, 2, 2, 3, 3, 4, 1)
WHOLE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def replay(stream: BinaryIO) -> Any:
    """What one pickle of the file describes, as plain tuples, lists and dicts; calls stay ("call", name, arguments)."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = max(i for i, item in enumerate(stack) if item is MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "GLOBAL"):
            stack.append(argument)
        elif name in ("NONE", "NEWFALSE", "NEWTRUE"):
            stack.append({"NONE": None, "NEWFALSE": False, "NEWTRUE": True}[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[name])
        elif name == "MARK":
            stack.append(MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("TUPLE1", "TUPLE2"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "BINPERSID":
            stack.append(("stored", *stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            called = stack.pop()
            stack.append({} if called == "collections OrderedDict" else ("call", called, arguments))
        elif name in ("SETITEM", "SETITEMS"):
            items = since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "APPENDS":
            items = since_mark()
            stack[-1].extend(items)
        elif name == "BUILD":
            stack.pop()  # version numbers of the saved modules; not needed
        elif name != "PROTO":
            raise SystemExit(f"unexpected opcode {name}")
    raise SystemExit("the file ends inside a pickle")


def timm_name(name: str) -> str | None:
    """timm's name for a tensor of the file; None for the classifier, which retrieval does not use."""
    parts = name.split(".")
    if parts[0] == "_fc":
        return None
    if parts[0] != "_blocks":
        return ".".join([WHOLE[parts[0]], *parts[1:]])
    number, stage = int(parts[1]), 0
    while number >= REPEATS[stage]:
        number, stage = number - REPEATS[stage], stage + 1
    names = FIRST if stage == 0 else EXPANDING
    return ".".join(["blocks", str(stage), str(number), names[parts[2]], *parts[3:]])


def layout(path: Path) -> dict[str, Any]:
    """sha256, size, and per tensor [timm name, dtype, shape, stride, byte offset]."""
    with path.open("rb") as stream:
        for _ in range(3):  # magic number, protocol, sizes of C types
            replay(stream)
        state, keys = replay(stream), replay(stream)
        sizes = {call[2][0][3]: (call[2][0][2], call[2][0][5]) for call in state.values()}
        offsets, at = {}, stream.tell()
        for key in keys:  # each storage: its length as int64, then its elements
            kind, count = sizes[key]
            offsets[key] = at + 8
            at += 8 + count * WIDTHS[kind][1]
    if at != path.stat().st_size:
        raise SystemExit(f"storages end at byte {at}, the file at {path.stat().st_size}")
    tensors = []
    for name, (_, called, (stored, start, shape, stride, *_rest)) in state.items():
        dtype, _ = WIDTHS[stored[2]]
        last = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        if called != "torch._utils _rebuild_tensor_v2" or start != 0 or not last + 1 == prod(shape) == stored[5]:
            raise SystemExit(f"{name} is not a whole storage")
        new = timm_name(name)
        if new is not None:
            tensors.append([new, dtype, list(shape), list(stride), offsets[stored[3]]])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size, "tensors": tensors}


def main() -> None:
    """Write the layout of the installed weight file."""
    from fashreg_lite0.weights import weight_file

    target = Path(__file__).parents[1] / "src" / "fashreg_lite0" / "layout.json"
    found = layout(weight_file())
    rows = ",\n".join(json.dumps(row) for row in found.pop("tensors"))
    head = json.dumps(found)[1:-1]
    target.write_text(f'{{{head}, "tensors": [\n{rows}\n]}}\n', encoding="utf-8")
    print(f"{target.name}: {rows.count(chr(10)) + 1} tensors")


if __name__ == "__main__":
    main()

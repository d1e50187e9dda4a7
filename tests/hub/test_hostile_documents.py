"""Every document of a folder, changed at random places into anything: refused by an error of ours, or harmless."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile.opening import open_folder
from hostile.watching import bounded, watched
from hostile.workshop import Workshop
from huggingface_hub._local_folder import get_local_download_paths
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fashreg.errors import FashregError, ModelError
from fashreg.manifest import checked_name
from fashreg.strict_yaml import read_yaml

NASTY = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, 1e308, -0.0, 1e-320, "", "a", "x" * 5000,
    "\ud800", "\x00", "../..", "/etc/passwd", "os:system", "nan", "1e999", "https://127.0.0.1:9/", [], [[]], {},
    {"": {}}, [None] * 50,
    {"name": "timm", "plugin": "fashreg", "version": "0.1.0", "config": {"weights": "hub"}},
]  # fmt: skip
DOCUMENTS = [
    ("model", "config.json"),
    ("tasks", "config.json"),
    ("model", "manifest.json"),
    ("exact", "index.json"),
    ("lists", "index.json"),
    ("graph", "index.json"),
    ("evaluation", "evaluation.json"),
]
HEADERS = [
    ("model", "model.safetensors"),
    ("exact", "vectors.safetensors"),
    ("graph", "structure.safetensors"),
    ("evaluation", "per_query.safetensors"),
]


def few(examples: int) -> settings:
    """The same examples each time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def place(tmp_path: Path) -> Callable[[], Path]:
    """A new empty place for every example."""
    return lambda: Path(tempfile.mkdtemp(dir=tmp_path))


def opened(base: str, shop: Workshop) -> None:
    """Opened or refused, and nothing else."""
    with bounded(), watched() as seen, contextlib.suppress(FashregError):
        open_folder(base, shop.folder)
    assert seen == []
    shutil.rmtree(shop.folder.parent)


def harmed(document: Any, dice: random.Random) -> Any:
    """One to three places of a document are changed, taken away, doubled, or swapped."""
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        holders = [node for node in nodes(document) if isinstance(node, dict | list) and node]
        if not holders:
            return copy.deepcopy(dice.choice(NASTY))
        holder = dice.choice(holders)
        key = dice.choice(sorted(holder)) if isinstance(holder, dict) else dice.randrange(len(holder))
        deed = dice.random()
        if deed < 0.7:
            holder[key] = copy.deepcopy(dice.choice(NASTY))
        elif deed < 0.8:
            del holder[key]
        elif deed < 0.9 and isinstance(holder, dict):
            holder[dice.choice(["", "x", "__class__", "\ud800", "weights"])] = holder.pop(key)
        else:
            holder[key] = [holder[key], holder[key]]
    return document


def nodes(document: Any) -> Iterator[Any]:
    yield document
    parts = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    for part in parts:
        yield from nodes(part)


@pytest.mark.parametrize(("base", "name"), DOCUMENTS, ids=lambda x: str(x))
@few(60)
@given(dice=st.randoms(use_true_random=False))
def test_a_document_changed_anywhere(
    base: str, name: str, bases: Path, place: Callable[[], Path], dice: random.Random
) -> None:
    shop = Workshop(bases / base, place() / "repository")
    text = json.dumps(harmed(json.loads((shop.folder / name).read_text()), dice))
    shop.put(name, text, listed=name != "manifest.json")
    opened(base, shop)


@pytest.mark.parametrize(("base", "name"), HEADERS, ids=lambda x: str(x))
@few(60)
@given(dice=st.randoms(use_true_random=False))
def test_a_header_changed_anywhere(
    base: str, name: str, bases: Path, place: Callable[[], Path], dice: random.Random
) -> None:
    shop = Workshop(bases / base, place() / "repository")
    shop.header(name, lambda header: harmed(header, dice))
    opened(base, shop)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        *HEADERS,
        ("exact", "items.jsonl"),
        ("model", "recipe.yaml"),
        ("model", "config.json"),
        ("evaluation", "items.jsonl"),
    ],
    ids=lambda x: str(x),
)
@few(60)
@given(dice=st.randoms(use_true_random=False))
def test_bytes_changed_cut_and_doubled(
    base: str, name: str, bases: Path, place: Callable[[], Path], dice: random.Random
) -> None:
    shop = Workshop(bases / base, place() / "repository")
    raw = bytearray((shop.folder / name).read_bytes())
    for _ in range(dice.choice([1, 2, 8])):
        at = dice.randrange(min(len(raw), 4000))
        raw[at] = dice.randrange(256)
    if dice.random() < 0.3:
        raw = raw[: dice.randrange(len(raw))]
    elif dice.random() < 0.1:
        raw = raw + raw
    shop.put(name, bytes(raw))
    opened(base, shop)


WORDS = [
    "{", "}", "[", "]", "&a ", "*a", "!!python/name:os.system ", "!!set ", "!!binary ", "- ", "\n", "\n  ", " ", ": ",
    "a", "1e3", "0x_", "<<: ", "'", '"', "|\n", ">\n", "%YAML 1.1\n", "@", "`", "\x07", "---\n", "...\n", "? ", ", ",
    "# ", "\t", "2024-99-99", "1_0", "=", "~", "\u2028", "\ufeff", "é", "9" * 5000, ".inf", "data", "seed",
    "backbone", "timm",
]  # fmt: skip


@few(400)
@given(words=st.lists(st.sampled_from(WORDS), max_size=30))
def test_yaml_of_any_words_is_plain_data_or_no_yaml(words: list[str]) -> None:
    import yaml

    with watched() as seen:
        try:
            found = read_yaml("".join(words))
        except yaml.YAMLError:
            found = None
    assert seen == []
    for node in nodes(found):
        assert node is None or type(node) in (dict, list, str, int, float, bool)


@few(400)
@given(
    name=st.one_of(st.text(), st.lists(st.sampled_from([*"ab.\\/:~ ", "..", "C:", "\\\\"]), max_size=8).map("".join))
)
def test_a_name_that_we_take_is_one_that_the_client_of_the_hub_takes(name: str) -> None:
    try:
        checked_name(name)
    except ModelError:
        return
    with tempfile.TemporaryDirectory() as folder:
        place = get_local_download_paths(Path(folder).resolve(), name).file_path
        assert place == Path(folder).resolve() / name
    assert os.path.normpath(os.path.join("/folder", name)) == f"/folder/{name}"

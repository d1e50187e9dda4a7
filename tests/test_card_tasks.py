"""Cards of models with several tasks: the code on them runs, and the tasks are named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fashreg.encoder import Encoder
from fashreg.heads.multi_task import MultiTaskHead
from fashreg.storage import save_encoder
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.testing.tiny_texts import ENTRY_POINTS, tiny_text_encoder

FOUR = {"find": "cross-modal", "edit": "composed", "name": "classification", "tell": "captioning"}


def ran(encoder: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """The card, and what its Python leaves behind in a folder with the pictures that it names."""
    card = (save_encoder(encoder, folder / "model") / "README.md").read_text("utf-8")
    for name in ("dress.jpg", "shirt.jpg"):
        Image.new("RGB", (40, 50), (200, 30, 30)).save(folder / name)
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.M | re.S)
    space: dict[str, Any] = {}
    exec(compile(code.replace("path/to/this/folder", "model"), "card", "exec"), space)
    return card, space


@pytest.fixture
def toy(fake_plugin: Any) -> None:
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)


def test_every_task_is_named_and_asked(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, space = ran(tiny_text_encoder(FOUR), tmp_path, monkeypatch)
    assert "| tasks | find: pictures by a text, texts by a picture; edit: pictures by a picture and a text; " in card
    assert space["found"].shape == (1, 2)
    assert space["query"].shape == (1, 12)
    assert "Classes and captions are those of its training data" in card
    assert "not what is on them" not in card


@pytest.mark.parametrize("kind", ["composed", "classification", "captioning"])
def test_a_model_of_one_task_shows_what_it_can(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    card, space = ran(tiny_text_encoder({"only": kind}), tmp_path, monkeypatch)
    assert space["vectors"].shape == (2, 12)
    assert ("encoder.classify" in card) == (kind == "classification")
    assert ("encoder.caption" in card) == (kind == "captioning")


def test_heads_with_several_tasks_are_asked_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_encoder().backbone
    head = MultiTaskHead(("colour", "sleeve"), out_dim=6, in_dim=backbone.out_dim)
    card, space = ran(Encoder(backbone, head), tmp_path, monkeypatch)
    assert "| tasks | colour; sleeve |" in card
    assert space["vectors"].shape == (2, 6)


def test_a_model_without_tasks_says_nothing_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, _ = ran(tiny_encoder(), tmp_path, monkeypatch)
    assert "| tasks |" not in card
    assert "It says how alike pictures are, not what is on them; it was not made to recognise people." in card

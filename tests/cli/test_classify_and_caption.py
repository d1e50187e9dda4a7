"""`fashreg search --text`, `classify` and `caption` as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashreg.storage import load_encoder, save_encoder
from fashreg.testing.tiny_run import tiny_encoder
from fashreg.testing.tiny_texts import CLASSES, ENTRY_POINTS, tiny_text_encoder


@pytest.fixture
def corner(tmp_path: Path, fake_plugin: Any) -> Path:
    """A model of four tasks, six pictures and their table."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    save_encoder(tiny_text_encoder(), tmp_path / "model")
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "t.csv").write_text("image,label\n" + "\n".join(f"{i}.png,{'ab'[i % 2]}" for i in range(6)))
    return tmp_path


def test_one_model_answers_from_the_command_line_whatever_it_is_asked(corner: Path, fashreg: Any) -> None:
    build = ("index", "build", corner / "model", "--table", corner / "t.csv", "--index", "{name: faiss, kind: flat}")
    assert "say which, --task cross-modal" in fashreg(*build, "--out", corner / "none").err
    done = fashreg(*build, "--every-task", "--out", corner / "i")
    assert done.status == 0, done.err
    assert done.out.splitlines()[2:] == [
        f'next: fashreg search {corner / "i/cross-modal"} --text "WORDS"',
        f'next: fashreg search {corner / "i/composed"} --image FILE --text "WORDS"',
    ]
    words = fashreg("search", corner / "i/cross-modal", "--text", "red dress", "--text", "blue", "-k", 2, "--json")
    assert words.status == 0, words.err
    found = json.loads(words.out)
    assert [(row["query"], row["text"], len(row["hits"])) for row in found] == [
        ('"red dress"', "red dress", 2),
        ('"blue"', "blue", 2),
    ]
    ours = ("--image", corner / "0.png", "--text", "but in red", "-k", 9, "--html", corner / "h.html")
    edited = fashreg("search", corner / "i/composed", *ours)
    assert edited.status == 0, edited.err
    lines = edited.out.splitlines()
    assert lines[0] == f'{corner / "0.png"} + "but in red"'
    assert len(lines) == 6  # all but the picture itself
    assert "but in red" in (corner / "h.html").read_text()
    refused = fashreg("search", corner / "i/composed", "--text", "red")
    assert refused.status == 1
    assert "--task cross-modal --out FOLDER" in refused.err


def test_classes_as_typed_with_and_without_a_text(corner: Path, fashreg: Any) -> None:
    pictures = (corner / "0.png", corner / "1.png")
    found = json.loads(fashreg("classify", corner / "model", *pictures, "-k", 2, "--json").out)
    wanted = load_encoder(corner / "model").classify(list(pictures), k=2)
    assert [row["image"] for row in found] == [str(p) for p in pictures]
    for row, best in zip(found, wanted, strict=True):
        assert [c["name"] for c in row["classes"]] == [name for name, _ in best]
        assert [c["share"] for c in row["classes"]] == pytest.approx([share for _, share in best], abs=1e-5)
        assert "text" not in row
    plain = fashreg("classify", corner / "model", pictures[0], "--text", "wide", "--text", "blue").out.splitlines()
    assert [plain[0], plain[4]] == [f'{pictures[0]} + "wide"', f'{pictures[0]} + "blue"']
    assert sorted(line.split()[-1] for line in plain[1:4]) == sorted(CLASSES)
    told = json.loads(fashreg("classify", corner / "model", *pictures, "--text", "wide", "--json").out)
    assert [row["text"] for row in told] == ["wide", "wide"]


def test_captions_as_typed(corner: Path, fashreg: Any) -> None:
    pictures = (corner / "0.png", corner / "1.png")
    found = json.loads(fashreg("caption", corner / "model", *pictures, "--length", 5, "--json").out)
    assert [row["caption"] for row in found] == load_encoder(corner / "model").caption(list(pictures), length=5)
    plain = fashreg("caption", corner / "model", pictures[0], "--length", 5).out
    assert plain == f"{pictures[0]}\n  {found[0]['caption']}\n"
    beams = json.loads(fashreg("caption", corner / "model", pictures[0], "--length", 5, "--beams", 2, "--json").out)
    assert beams[0]["caption"] != found[0]["caption"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("classify", "model", "gone.png"), "gone.png"),
        (("classify", "model", "0.png", "--task", "colour"), "no task 'colour'; its tasks are cross-modal"),
        (("classify", "model", "0.png", "--task", "composed"), "cannot name classes; take the task classification"),
        (("classify", "model", "0.png", "1.png", "2.png", "--text", "a", "--text", "b"), "3 pictures and 2 texts"),
        (("caption", "model", "0.png", "--task", "composed"), "cannot write captions; take the task captioning"),
        (("caption", "nowhere", "0.png"), "no model folder"),
        (("caption", "sees", "0.png"), "cannot write captions"),
        (("classify", "sees", "0.png"), "cannot name classes"),
    ],
)
def test_what_cannot_be_answered_is_one_clear_line(corner: Path, fashreg: Any, typed: Any, says: str) -> None:
    if typed[1] == "sees":
        save_encoder(tiny_encoder(), corner / "sees")
    command, model, *rest = typed
    pictures = [corner / word if word.endswith(".png") else word for word in rest]
    done = fashreg(command, corner / model, *pictures)
    assert done.status == 1
    assert says in done.err
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err


def test_without_a_picture_the_usage_is_said(corner: Path, fashreg: Any) -> None:
    assert fashreg("caption", corner / "model").status == 2

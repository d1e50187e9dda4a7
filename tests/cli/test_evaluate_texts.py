"""`fashreg evaluate --task` as typed, for a model with a task of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashreg.jobs.evaluation_folder import load_evaluation
from fashreg.storage import save_encoder
from fashreg.testing.tiny_texts import CLASSES, ENTRY_POINTS, tiny_text_encoder


@pytest.fixture
def corner(tmp_path: Path, fake_plugin: Any) -> Path:
    """A model of four tasks, and a table that all can be asked about."""
    fake_plugin("fashreg-tiny-text", ENTRY_POINTS)
    save_encoder(tiny_text_encoder(), tmp_path / "model")
    random, lines = np.random.default_rng(0), ["image,kind,caption,wanted"]
    for number in range(8):
        Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{CLASSES[number % 3]},a thing number {number},{(number + 3) % 8}.png")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return tmp_path


def test_the_task_decides_what_is_asked_and_how_it_is_judged(corner: Path, fashreg: Any) -> None:
    ask = ("evaluate", corner / "model", "--table", corner / "t.csv", "--set", "text=caption")
    primary = {}
    for task, more in {
        "cross-modal": ("--set", "label=null"),
        "composed": ("--set", "label=null", "--set", "target=wanted"),
        "classification": ("--label", "kind"),
        "captioning": ("--set", "label=null", "--beams", "2"),
    }.items():
        done = fashreg(*ask, "--task", task, *more, "--out", corner / task, "--json")
        assert done.status == 0, done.err
        found = json.loads(done.out)
        assert found["protocol"]["task"] == task
        assert load_evaluation(corner / task).metrics == found["metrics"]
        primary[task] = found["primary"]
        assert found["intervals"].keys() == found["metrics"].keys()
    assert [*primary.values()] == ["mean_recall", "mean_recall", "mean", "bleu@4"]
    shown = fashreg(*ask, "--task", "cross-modal", "--set", "label=null")
    assert (
        shown.out.splitlines()[0] == "pictures and texts find each other: 16 queries, 8 pictures and 8 texts searched"
    )


def test_what_a_model_cannot_be_asked_is_said(corner: Path, fashreg: Any) -> None:
    ask = ("evaluate", corner / "model", "--table", corner / "t.csv", "--set", "label=null")
    assert "say which to measure, --task NAME, one of: cross-modal, composed" in fashreg(*ask).err
    assert "no texts; name their column, e.g. --set text=caption" in fashreg(*ask, "--task", "cross-modal").err
    wrong = fashreg(*ask, "--task", "captioning", "--evaluator", "cross-modal", "--set", "text=caption")
    assert "the task 'captioning' cannot be asked with a text alone; take the task cross-modal" in wrong.err
    assert wrong.status == 1

"""Half precision: whole trainings learn, go on after a crash, and leave a model in full precision that answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from famevil_run import learnt, small_session
from fashreg_famevil.multi_task import MultiTaskLearner
from torch import Tensor

import fashreg
from fashreg.cli import run
from fashreg.strict_tensors import read_header
from fashreg.testing.tiny_run import CrashError, difference

HALVES = ("bf16", "fp16")
TASKS = ("cross-modal", "composed", "classification", "captioning")
SETTINGS = (
    "data.table=atelier:products=24,views=1,seed=0",
    "backbone={name: fame-vil, model: tiny, weights: null, vocabulary: 600}",
    "trainer={epochs: 5, batch_size: 8, lr: 3.0e-3, warmup_steps: 2, evaluate_every: 0, log_every: 1}",
)


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setenv("FASHREG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def losses(folder: Path) -> Mapping[str, list[float]]:
    """Task -> its losses, in the order of the steps."""
    found: dict[str, list[float]] = {task: [] for task in TASKS}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        for task in TASKS:
            if line["kind"] == "train" and f"{task}.loss" in line:
                found[task].append(line[f"{task}.loss"])
    return found


@pytest.mark.parametrize("precision", HALVES)
def test_a_whole_recipe_learns_and_leaves_a_model_in_full_precision(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [part for setting in (*SETTINGS, f"trainer.precision={precision}") for part in ("--set", setting)]
    assert run(["train", "famevil-quick", *asked, "--out", str(tmp_path / "run")]) == 0
    for task, values in losses(tmp_path / "run").items():
        few = len(values) // 4
        assert few, task
        assert all(torch.isfinite(torch.tensor(values))), task
        assert sum(values[-few:]) < 0.9 * sum(values[:few]), (task, values)
    header = read_header(tmp_path / "run" / "model" / "model.safetensors")
    assert {record.dtype for record in header.values()} <= {"F32", "I64", "BOOL"}
    encoder = fashreg.load(tmp_path / "run" / "model")
    pictures = torch.randn(3, 3, *encoder.input_spec.size, generator=torch.Generator().manual_seed(0))
    for rows in (encoder.embed(pictures, task="cross-modal"), encoder.embed(pictures, texts=["but in red"])):
        assert rows.dtype == torch.float32
        assert torch.isfinite(rows).all()
    assert [len(encoder.caption(pictures, beams=beams, length=6)) for beams in (1, 3)] == [3, 3]
    assert len(encoder.classify(pictures, k=2)) == 3


@pytest.mark.parametrize("precision", HALVES)
def test_a_run_in_half_precision_that_died_goes_on_bit_for_bit(precision: str, tmp_path: Path) -> None:
    def trained(folder: Path, fails_at: int | None = None) -> dict[str, Tensor]:
        trainer = {"checkpoint_steps": 1, "precision": precision}
        learner = MultiTaskLearner(clip_lr_factor=0.3)
        session = small_session(folder, fails_at=fails_at, trainer=trainer, turns=learner.turns)
        learnt(session, learner)
        return {name: value.clone() for name, value in session.encoder.state_dict().items()}

    whole = trained(tmp_path / "whole")
    assert {value.dtype for value in whole.values() if value.is_floating_point()} == {torch.float32}
    with pytest.raises(CrashError):
        trained(tmp_path / "died", 5)
    assert difference(whole, trained(tmp_path / "died")) == []


@pytest.mark.parametrize("precision", HALVES)
def test_gradients_that_are_kept_by_task_are_mixed_in_half_precision_too(precision: str) -> None:
    learner = MultiTaskLearner("round-robin", impartial=True, adaptive=True)
    trainer = {"accumulate": 4, "precision": precision}
    session = small_session(trainer=trainer, turns=learner.turns)
    before = {name: value.clone() for name, value in session.encoder.state_dict().items()}
    learnt(session, learner)
    after = session.encoder.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in after.values() if value.is_floating_point())
    assert len(difference(before, after)) > len(before) // 2

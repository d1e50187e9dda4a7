"""Stopping a training from outside, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.core import TyperCommand

from fashreg.cli import run


def command(shop: Path, out: Path, *more: str) -> list[str]:
    ours = ["--set", f"data.table={shop}/atelier/table.csv", "--set", "trainer.epochs=8", "--out", str(out)]
    return [sys.executable, "-m", "fashreg", "train", "quick", *ours, *more]


def test_an_interrupted_training_goes_on_to_the_same_model(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    first = subprocess.Popen(
        command(shop, tmp_path / "a", "--set", "trainer.log_every=1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    log = tmp_path / "a/metrics.jsonl"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and first.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= 3:
            break
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=600)
    assert first.returncode == 128 + signal.SIGTERM, said
    assert "--resume" in said
    assert "Traceback" not in said
    again = ("--set", "trainer.log_every=1")
    for out, more in (("a", ["--resume"]), ("b", [])):  # in this process: what is left of the other is on disk
        assert run([*command(shop, tmp_path / out, *again, *more)[3:]]) == 0, capsys.readouterr().err
    a, b = (load_file(tmp_path / name / "model/model.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in b)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in "ab"]
    assert results[0]["after"]["metrics"] == results[1]["after"]["metrics"]
    assert results[0]["before"] == results[1]["before"]


@pytest.mark.parametrize("command", [["list"], ["index", "info", "gallery"]])
def test_a_command_stopped_by_hand_says_so(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_hand(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TyperCommand, "invoke", by_hand)
    assert run(command) == 130
    assert capsys.readouterr().err == "stopped\n"

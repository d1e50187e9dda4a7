from __future__ import annotations

import pytest

from fashreg.training import progress
from fashreg.training.progress import Progress


def test_off_a_terminal_lines_are_plain_and_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, "run") as bar:
        bar.step(1, {"loss": 0.5})
        bar.say("epoch 1 of 2")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "run: epoch 1 of 2\n"


def test_a_long_silence_is_broken_with_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    with Progress(10, "run", done=4) as bar:
        bar.step(5, {"loss": 0.25})
        bar.step(6)
    said = capsys.readouterr().err
    assert said.startswith("run: step 5 of 10  loss 0.25  about 0 s left")
    assert said.count("\n") == 1


def test_hidden_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, "run", shown=False) as bar:
        bar.step(1, {"loss": 0.5})
        bar.say("anything")
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(4, "run") as bar:
        bar.step(2, {"loss": 0.5})
        bar.say("epoch 1 of 2 [0.5]")
        bar.step(4)
    assert "run: epoch 1 of 2 [0.5]" in capsys.readouterr().err

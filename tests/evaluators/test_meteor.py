"""METEOR: the real program where Java is, one that speaks its lines elsewhere; it is always ended."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from pycocoevalcap.meteor import meteor as package

from fashreg.errors import RequirementError
from fashreg.evaluators.captioning import CaptioningEvaluator
from fashreg.evaluators.meteor import meteor_of
from fashreg.testing.evaluator_words import captions

SPEAKS = """
for line in sys.stdin:
    kind, *parts = line.rstrip("\\n").split(" ||| ")
    if kind == "SCORE":
        print(len(parts[-1].split()), len(parts) - 1, flush=True)
    else:
        for score in (*[0.5] * len(parts), 0.25):
            print(score, flush=True)
"""
DIES = "sys.exit('no room for 2 GB')"
WAITS = "import time; time.sleep(600)"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started."""
    found: list[Any] = []
    popen = package.subprocess.Popen

    def spy(*arguments: Any, **options: Any) -> Any:
        found.append(popen(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(package.subprocess, "Popen", spy)
    return found


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """A `java` that is a few lines of Python, in a folder with a blank in its name."""
    place = folder / "a folder"
    place.mkdir()
    (place / "java").write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    (place / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)


def ended(processes: list[Any]) -> bool:
    pipes = [pipe for p in processes for pipe in (p.stdin, p.stdout, p.stderr)]
    return all(p.returncode is not None for p in processes) and all(pipe.closed for pipe in pipes)


def test_the_real_program_gives_its_known_number_and_without_java_it_is_said(started: list[Any]) -> None:
    """An equal caption, a part of one, none, another order and letters beyond ASCII; METEOR 1.5, English, -norm."""
    written = ["A red dress with long sleeves.", "blue coat", "", "a café dress"]
    references = [["a red dress with long sleeves"], ["a blue coat", "coat"], ["a skirt"], ["dress for a café"]]
    if shutil.which("java") is None:
        with pytest.raises(RequirementError, match="no `java` on the PATH"):
            CaptioningEvaluator(meteor=True)
        assert not started
        return
    found = CaptioningEvaluator(meteor=True)(written, references)
    assert found["meteor"] == pytest.approx(0.45193685, abs=1e-6)
    assert len(started) == 1
    assert ended(started)


def test_its_number_is_that_of_the_corpus_and_counts_in_the_mean(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[Any]
) -> None:
    """0.5 for each caption and 0.25 for all; one evaluation after the other, each with a program of its own."""
    stand_in(monkeypatch, tmp_path, SPEAKS)
    evaluator, threads = CaptioningEvaluator(meteor=True), threading.active_count()
    found = evaluator(*captions(1))
    assert found["meteor"] == 0.25
    assert found["mean"] == pytest.approx(sum(found[n] for n in ("bleu@4", "rouge_l", "cider", "meteor")) / 4)
    assert "mean" not in evaluator.per_query(*captions(1))
    assert evaluator(*captions(1)) == found
    assert len(started) == 2
    assert ended(started)
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("body", "seconds", "said"),
    [(DIES, None, "failed: no room for 2 GB"), (WAITS, 0.2, r"did not answer within 0.2 s"), ("", None, "failed: ")],
)
def test_a_program_that_dies_or_is_silent_is_ended_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[Any], body: str, seconds: float | None, said: str
) -> None:
    stand_in(monkeypatch, tmp_path, body)
    with pytest.raises(RequirementError, match=said) as caught:
        meteor_of(["a coat"], [["a coat"]], seconds=seconds)
    assert "meteor=False" in str(caught.value)
    assert ended(started)


def test_without_java_it_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RequirementError, match="no `java` on the PATH"):
        CaptioningEvaluator(meteor=True)
    assert CaptioningEvaluator().meteor is False


@pytest.mark.parametrize("folder", ["/home/a b/pycocoevalcap/meteor", "/home/käthe/pycocoevalcap/meteor"])
def test_a_folder_whose_name_meteor_cannot_read_is_told_at_once(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    spec = ModuleSpec("pycocoevalcap.meteor", None)
    spec.submodule_search_locations = [folder]
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(RequirementError, match=f"cannot read its own files .*{folder}"):
        CaptioningEvaluator(meteor=True)

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fashreg.errors import BusyError, RecipeError
from fashreg.training.run_folder import environment, open_run

RECIPE = {"seed": 0, "trainer": {"epochs": 3, "lr": 0.1}, "loss": {"name": "triplet"}}


def test_a_fresh_folder_gets_recipe_and_environment(tmp_path: Path) -> None:
    with open_run(tmp_path / "runs" / "a", recipe=RECIPE) as run:
        run.log({"kind": "train", "loss": 0.5})
        assert (run.path / "lock").exists()
    assert {p.name for p in run.path.iterdir()} == {"recipe.yaml", "environment.json", "metrics.jsonl"}
    said = json.loads((run.path / "environment.json").read_text())
    assert said["libraries"]["torch"]
    assert "fashreg" in said


def test_the_environment_keeps_settings_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHREG_MAX_PIXELS", "9")
    monkeypatch.setenv("FASHREG_TOKEN", "secret")
    assert environment()["settings"]["FASHREG_MAX_PIXELS"] == "9"
    assert "secret" not in json.dumps(environment())


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(RecipeError, match=r"holds other files \(thesis.tex\)"), open_run(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="is a file"), open_run(tmp_path / "file"):
        pass


def test_a_folder_with_a_run_wants_resume_and_the_same_recipe(tmp_path: Path) -> None:
    with open_run(tmp_path / "a", recipe=RECIPE):
        pass
    with pytest.raises(RecipeError, match="--resume"), open_run(tmp_path / "a", recipe=RECIPE):
        pass
    longer = {**RECIPE, "trainer": {"epochs": 9, "lr": 0.1}}
    with open_run(tmp_path / "a", recipe=longer, resume=True):
        pass
    other = {**RECIPE, "trainer": {"epochs": 9, "lr": 0.2}}
    with (
        pytest.raises(RecipeError, match=r"different: trainer\.lr"),
        open_run(tmp_path / "a", recipe=other, resume=True),
    ):
        pass


def test_resume_in_a_new_folder_begins(tmp_path: Path) -> None:
    with open_run(tmp_path / "new", recipe=RECIPE, resume=True) as run:
        assert run.checkpoints.newest() is None


def test_lines_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    with open_run(tmp_path / "a") as run:
        run.log({"step": 1})
        size = run.log_size()
        run.log({"step": 2})
        run.cut_log(size)
        run.log({"step": 3})
    assert (run.path / "metrics.jsonl").read_text().split() == ['{"step":', "1}", '{"step":', "3}"]


def test_two_runs_in_one_folder_name_the_other_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom fashreg.training.run_folder import open_run\n"
        "with open_run(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=f"process {other.pid} on {socket.gethostname()}"),
            open_run(tmp_path / "a", resume=True),
        ):
            pass
        other.kill()
        other.wait()
    assert (tmp_path / "a" / "lock").exists()  # nobody tidied up
    for _ in range(50):  # the system drops the lock with the process
        try:
            with open_run(tmp_path / "a", resume=True) as run:
                assert json.loads((run.path / "lock").read_text())["pid"] == os.getpid()
            break
        except BusyError:
            time.sleep(0.1)
    assert not (tmp_path / "a" / "lock").exists()


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with open_run(tmp_path / "a", recipe=RECIPE) as run:
        run.log({"step": 1})
    assert not (tmp_path / "a").exists()

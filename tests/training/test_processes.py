from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fashreg.errors import RecipeError
from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import tiny_experience, tiny_session
from fashreg.training.processes import Processes
from fashreg.values import Embedded

SCRIPT = Path(__file__).with_name("two_ranks.py")


def test_two_processes_under_torchrun_equal_one(tmp_path: Path) -> None:
    """Losses, gradients of network and loss, and all that is left at the end to 1e-6; the same memory to the bit."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from two_ranks import train
    finally:
        sys.path.pop(0)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    alone = train()
    assert alone.keys() == first.keys() == second.keys()
    for name, value in alone.items():
        if name.startswith("penalty"):
            assert torch.allclose((first[name] + second[name]) / 2, value, atol=1e-6)
            continue
        assert name.startswith("loss") or torch.equal(first[name], second[name]), name
        scale = max(1.0, float(value.abs().max()))
        assert torch.allclose(first[name].double(), value.double(), rtol=0, atol=1e-6 * scale), name
    gradients = [value for name, value in alone.items() if name.startswith("gradient")]
    assert len(gradients) > 50
    assert sum(float(g.abs().sum()) > 0 for g in gradients) > len(gradients) / 2
    assert bool((alone["end memory.count"] == 20).all())


def test_one_process_gathers_nothing_and_changes_nothing() -> None:
    processes = Processes()
    rows = Embedded(torch.ones(2, 3), torch.arange(2), torch.arange(2))
    assert processes.gather(rows) is rows
    assert processes.own_rows(2) == slice(0, 2)
    assert processes.collect("x") == ["x"]
    assert (processes.rank, processes.size, processes.first) == (0, 1, True)


def test_a_tracker_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"trainer\.trackers"):
        Processes(trackers=["no-such-tracker"])


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    class Three(Processes):
        def __init__(self) -> None:
            super().__init__()
            self.size = 3

    with pytest.raises(RecipeError, match="give 12"):
        tiny_session(processes=Three(), trainer={"batch_size": 10})


def test_trackers_see_the_recipe_every_line_and_every_evaluation() -> None:
    calls: list[tuple[str, object]] = []

    class Recorder:
        def init_trackers(self, project: str, config: dict[str, object]) -> None:
            calls.append((project, config))

        def log(self, values: dict[str, float], step: int) -> None:
            calls.extend((name, step) for name in values)

        def end_training(self) -> None:
            calls.append(("end", None))

    session = tiny_session(
        evaluate=lambda encoder, experience: {"recall@1": 0.5},
        recipe={"trainer": {"lr": 0.1, "patience": None}, "loss": {"name": "infonce"}, "plugins": ["a"]},
        trainer={"epochs": 1},
    )
    session.processes._accelerator, session.processes._tracking = Recorder(), True  # type: ignore[assignment]
    StandardLearner().bind(session).learn(tiny_experience())
    session.processes.end_trackers()
    assert calls[0] == ("fashreg", {"trainer.lr": 0.1, "loss.name": "infonce", "plugins": "['a']"})
    assert [call for call in calls if call[0] == "train/loss"] == [("train/loss", step) for step in (1, 2, 3)]
    assert ("validation/recall@1", 3) in calls
    assert calls[-1] == ("end", None)

"""The memory in whole runs: learner, checkpoints, precision, processes, recipes, and models that outlive the plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from acbn_ranks import train
from fashreg_acbn.memory import ACBNMemory
from safetensors.torch import load_file

from fashreg import registry
from fashreg.assembly import build, spec_of
from fashreg.errors import UnknownComponentError
from fashreg.learners.standard import StandardLearner
from fashreg.losses.contrastive import ContrastiveLoss
from fashreg.testing.ranks import in_two_processes
from fashreg.testing.tiny_run import (
    DIM,
    CrashError,
    difference,
    run_folder,
    tiny_experience,
    tiny_session,
    weights_of,
)
from fashreg.training.session import Session


def session(folder: Any = None, fails_at: int | None = None, memory: Any = None, **parts: Any) -> Session:
    memory = memory or ACBNMemory(20, embed_dim=DIM, start_step=1, min_effective=4.0)
    parts.setdefault("trainer", {"epochs": 3, "checkpoint_steps": 2})
    return tiny_session(folder, fails_at=fails_at, memory=memory, **parts)


def learn(made: Session) -> Session:
    StandardLearner().bind(made).learn(tiny_experience())
    return made


@pytest.mark.parametrize("options", [{}, {"kind": "xbn", "fill": "sampled"}, {"noise": "principled"}])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does_to_the_bit(options: dict[str, Any], tmp_path: Path) -> None:
    def memory() -> ACBNMemory:
        return ACBNMemory(20, embed_dim=DIM, start_step=1, min_effective=4.0, **options)

    whole = learn(session(run_folder(tmp_path / "whole"), memory=memory()))
    with pytest.raises(CrashError):
        learn(session(run_folder(tmp_path / "died"), fails_at=5, memory=memory()))
    again = learn(session(run_folder(tmp_path / "died"), memory=memory()))
    assert whole.memory.filter.seen.max() == 8
    assert not torch.equal(whole.memory.scale, torch.ones(DIM).double())
    assert difference(weights_of(whole), weights_of(again)) == []
    assert whole.memory.checksum() == again.memory.checksum()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_trains_in_half_precision_with_moments_in_double(precision: str) -> None:
    made = learn(session(trainer={"precision": precision}, loss=ContrastiveLoss()))
    assert len(made.memory) == 20
    for tensor in (made.memory.scale, made.memory.sums, made.memory.filter.level):
        assert tensor.dtype == torch.float64
        assert bool(torch.isfinite(tensor).all())


def test_with_accumulation_every_batch_counts() -> None:
    made = learn(session(trainer={"accumulate": 2, "epochs": 2}))
    assert int(made.memory.step) == 6
    assert made.memory.filter.seen.max() == 5


def test_two_processes_hold_one_memory_that_equals_the_single_process(tmp_path: Path) -> None:
    in_two_processes(Path(__file__).with_name("acbn_ranks.py"), tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    alone = train()
    assert int(alone["memory.count"]) == 40
    assert not torch.equal(alone["memory.scale"], torch.ones(DIM).double())
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name].double(), value.double(), rtol=0, atol=1e-5), name


def test_it_is_offered_by_name_and_its_spec_builds_an_equal_one() -> None:
    one = build("memory", {"name": "acbn", "capacity": 30, "kind": "ema", "q": 0.5}, facts={"embed_dim": 6})
    assert isinstance(one, ACBNMemory)
    spec = spec_of(one)
    assert (spec["name"], spec["plugin"], spec["config"]["kind"]) == ("acbn", "fashreg-acbn", "ema")
    assert spec_of(build("memory", spec)) == spec


def test_without_the_plugin_a_name_nearly_right_says_how_to_get_it() -> None:
    with registry.only([]), pytest.raises(UnknownComponentError, match="pip install fashreg-acbn"):
        build("memory", "acbm", capacity=30, embed_dim=6)

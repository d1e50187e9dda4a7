"""A run that dies within a later experience goes on bit for bit, with whatever its learner keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fashreg_mclfir.mcl_fir import MCLFIRLearner
from mclfir_run import LEARNERS, NAMES, end_of, learn, networks, stream_session, views_of

from fashreg.testing.tiny_run import CrashError, difference
from fashreg.training.packing import pack
from fashreg.training.session import Session


def noisy(learner: Any) -> Any:
    """Random numbers are part of the state."""
    learner.penalty = lambda batch, embedded: (embedded.vectors * torch.rand(embedded.vectors.shape)).sum()
    return learner


def run(folder: Path, make: Any, fails_at: Any, **parts: Any) -> tuple[Session, Any]:
    trainer = {"checkpoint_steps": 2, "epochs": 2}
    session = stream_session(folder, trainer=trainer, fails_at=fails_at, **parts)
    learner = noisy(make())
    learn(learner, session, *NAMES[:2])
    return session, learner


def compare(tmp_path: Path, make: Any, where: str, **parts: Any) -> None:
    fresh = {name: part() for name, part in parts.items()}
    whole, first = run(tmp_path / "whole", make, None, **fresh)
    with pytest.raises(CrashError):
        run(tmp_path / "died", make, (where, 5), **{name: part() for name, part in parts.items()})
    again, second = run(tmp_path / "died", make, None, **{name: part() for name, part in parts.items()})
    assert not difference(end_of(whole), end_of(again))
    assert not difference(pack(first.state_dict())[0], pack(second.state_dict())[0])
    one, other = (session.cost.snapshot().as_dict() for session in (whole, again))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize("name", LEARNERS)
def test_within_the_second_experience(name: str, tmp_path: Path) -> None:
    compare(tmp_path, LEARNERS[name], "all" if name == "joint" else NAMES[1], views=lambda: views_of(name))


def test_independent_networks_too(tmp_path: Path) -> None:
    def make() -> Any:
        return MCLFIRLearner("independent", "frozen", weight=0.1, batch_norm="trained")

    compare(tmp_path, make, NAMES[1], encoder=networks)

"""What each of two processes runs for `test_famevil_processes.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from famevil_run import KINDS, batch_of, learnt, small_encoder, small_session
from fashreg_famevil.multi_task import MultiTaskLearner
from fashreg_famevil.teachers import Teachers
from safetensors.torch import save_file
from torch import Tensor

from fashreg.training.processes import Processes

#: Learners, and how many batches make a step.
WAYS: dict[str, tuple[dict[str, Any], int]] = {
    "taught": ({}, 1),
    "published": ({"published_distillation": True, "count_padding": True, "mask_same_label": False}, 1),
    "impartial": ({"schedule": "round-robin", "impartial": True}, 4),
}


def train() -> dict[str, Tensor]:
    """The weights that each learner ends with, and the first value of every task."""
    found: dict[str, Tensor] = {}
    for name, (options, accumulate) in WAYS.items():
        trainer = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.02, "schedule": "constant", "accumulate": accumulate}
        learner = MultiTaskLearner(clip_lr_factor=1.0, **options)
        session = small_session(trainer=trainer, turns=learner.turns)
        learner.bind(session)
        if name in ("taught", "published"):
            teachers = {task: small_encoder({task: kind}, seed=1) for task, kind in KINDS.items()}
            learner._teaching = Teachers(teachers, session.encoder)
        learner.bind = lambda session, learner=learner: learner  # type: ignore[method-assign,misc]
        learnt(session, learner)
        found |= {f"{name}: {key}": value.clone().contiguous() for key, value in session.encoder.state_dict().items()}
    return found


def value_of_halves(rank: int, size: int) -> Tensor:
    """What a batch of eight, of which each process holds its share, is worth in matching."""
    session = small_session()
    learner = MultiTaskLearner()
    learner.bind(session)
    learner.tasks = tuple(KINDS)
    batch = batch_of("match", 8)
    own = slice(rank * 8 // size, (rank + 1) * 8 // size)
    for name in ("images", "labels", "ids", "positions"):
        setattr(batch, name, getattr(batch, name)[own])
    batch.texts = list(batch.texts or ())[own]
    return learner.objective(batch).value.detach()[None]


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes = Processes()
    halves = {"halves": value_of_halves(processes.rank, processes.size)}
    save_file(train() | halves, Path(sys.argv[1]) / f"{processes.rank}.safetensors")
    dist.destroy_process_group()

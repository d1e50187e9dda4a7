"""What each of two processes runs for `test_mclfir_processes.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mclfir_run import LEARNERS, NAMES, learn, stream_session, views_of
from safetensors.torch import save_file
from torch import Tensor

from fashreg.testing.tiny_run import weights_of
from fashreg.training.packing import pack
from fashreg.training.processes import Processes

CHOSEN = ("mcl-fir-second-view", "mcl-fir-embeddings", "lwf-similarity", "ewc", "ewc-batch", "replay-distil", "joint")
#: Batch norms see each process's own batch, so these end elsewhere than one process does.
OWN_STATISTICS = ("mcl-fir-second-view",)


def train() -> dict[str, Tensor]:
    """For every learner: the weights, and all that it keeps, at the end of two experiences."""
    found: dict[str, Tensor] = {}
    for name in CHOSEN:
        trainer = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "lr": 0.001, "schedule": "constant"}
        own = name in OWN_STATISTICS
        session = stream_session(trainer={**trainer, "freeze_batch_norm": not own}, views=views_of(name))
        learner = LEARNERS[name]()
        learn(learner, session, *NAMES[:2])
        kept = {f"kept.{key}": value for key, value in pack(learner.state_dict())[0].items()}
        cost = session.cost.snapshot()
        counted = {"cost": torch.tensor([cost.tuples, cost.image_passes, cost.parameters])}
        found |= {f"{name}: {key}": value for key, value in {**weights_of(session), **kept, **counted}.items()}
    return {name: value.contiguous() for name, value in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_file(train(), Path(sys.argv[1]) / f"{Processes().rank}.safetensors")
    dist.destroy_process_group()

"""What each of two processes runs for `test_acbn_training.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from fashreg_acbn.memory import ACBNMemory
from fashreg_acbn.moments import batch_moments
from safetensors.torch import save_file
from torch import Tensor

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import DIM, tiny_encoder, tiny_experience, tiny_session, weights_of
from fashreg.training.processes import Processes
from fashreg.values import TrainingBatch


class Watching(StandardLearner):
    """Compares, at every step, the moments of the gathered batch with all-reduced sums, and the ranks' checksums."""

    def objective(self, batch: TrainingBatch):  # type: ignore[no-untyped-def]
        made = super().objective(batch)
        processes, rows = self.session.processes, made.rows.vectors.detach()
        own = rows[processes.own_rows(len(batch))]
        sums = torch.cat([own.sum(0), own.square().sum(0), own.new_tensor([float(len(own))])])
        if processes.size > 1:
            dist.all_reduce(sums)
        mean = sums[:DIM] / sums[-1]
        std = (sums[DIM:-1] / sums[-1] - mean.square()).sqrt()
        now = batch_moments(rows, made.rows.labels)
        assert torch.allclose(now.mean, mean, atol=1e-9)
        assert torch.allclose(now.std, std, atol=1e-9)
        assert len(set(processes.collect(self.session.memory.checksum()))) == 1
        return made


def train() -> dict[str, Tensor]:
    """A run in double precision; everything that is left at its end."""
    trainer = {"epochs": 3, "optimizer": "sgd", "momentum": 0.0, "lr": 0.001, "schedule": "constant"}
    memory = ACBNMemory(40, embed_dim=DIM, start_step=1, q=0.1, min_effective=4.0)
    session = tiny_session(encoder=tiny_encoder("test_convnext"), trainer=trainer, memory=memory)
    for module in (session.encoder, session.loss):
        module.double()  # so that the order of sums hides nothing
    session.encoder.register_forward_pre_hook(lambda module, given: (given[0].double(), *given[1:]))
    Watching().bind(session).learn(tiny_experience())
    return {name: value.contiguous() for name, value in weights_of(session).items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_file(train(), Path(sys.argv[1]) / f"{Processes().rank}.safetensors")
    dist.destroy_process_group()

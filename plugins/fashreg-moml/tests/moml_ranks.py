"""What each of two processes runs for `test_moml_processes.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fashreg_moml.loss import MultiObjectiveLoss
from moml_plain import random_batch
from safetensors.torch import save_file
from torch import Tensor

from fashreg.learners.standard import StandardLearner
from fashreg.losses.multi_similarity import MultiSimilarityLoss
from fashreg.testing.tiny_run import DIM, tiny_encoder, tiny_experience, tiny_session, weights_of
from fashreg.training.processes import Processes
from fashreg.values import Embedded

RULES = ("balanced", "loss-statistics", "gradnorm", "uncertainty", "dynamic-average")


def made(**options: Any) -> MultiObjectiveLoss:
    torch.manual_seed(0)
    return MultiObjectiveLoss(num_classes=6, embed_dim=DIM, every=2, **options).double()


def train() -> dict[str, Tensor]:
    """A run of the learner, which gathers the batch, in double precision; everything that is left at its end."""
    trainer = {"epochs": 3, "optimizer": "sgd", "momentum": 0.0, "lr": 1e-5, "schedule": "constant"}
    loss = made(project=True, init="class-means")
    session = tiny_session(encoder=tiny_encoder("test_convnext"), trainer=trainer, memory=None, loss=loss)
    session.encoder.double()
    session.encoder.register_forward_pre_hook(lambda module, given: (given[0].double(), *given[1:]))
    StandardLearner().bind(session).learn(tiny_experience())
    return {name: value.contiguous() for name, value in weights_of(session).items()}


class Opposed(MultiSimilarityLoss):
    """Wants images of one class apart, so that its pull is against the proxies'."""

    def forward(self, *given: Any) -> Tensor:
        return -super().forward(*given)


def opposed(rank: int) -> tuple[MultiObjectiveLoss, Embedded]:
    """A loss whose pairs work against its proxies, and a batch of this process's own."""
    loss = made(rule="fixed", project=True, pair=Opposed(), repulsion=None, mining=None, virtual=False)
    batch = random_batch(12, DIM, 6, 70 + rank)
    return loss, replace(batch, vectors=batch.vectors.clone().requires_grad_())


def apart(rank: int) -> dict[str, Tensor]:
    """What every rule holds after five steps in which each process has a batch of its own."""
    left = {}
    for rule in RULES:
        loss = made(rule=rule, init="class-means")
        for step in range(5):
            batch = random_batch(12, DIM, 6, 10 * step + rank)
            value = loss(replace(batch, vectors=batch.vectors.clone().requires_grad_()))
            value.backward()
            others = random_batch(30, DIM, 6, 10 * step + rank + 5)
            loss(batch, replace(others, ids=others.ids + 100))
        left |= {f"{rule}.{name}": tensor.contiguous() for name, tensor in loss.state_dict().items()}
        left[f"{rule}.weights"] = loss.weighing.weights().detach().clone()
    loss, batch = opposed(rank)
    left["opposed"] = torch.autograd.grad(loss(batch), batch.vectors)[0]
    return left


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = train()
    rank = Processes().rank
    save_file({**found, **apart(rank)}, Path(sys.argv[1]) / f"{rank}.safetensors")
    dist.destroy_process_group()

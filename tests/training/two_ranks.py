"""What each of two processes runs for `test_processes.py`; the test itself runs `train` as the one process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fashreg.learners.standard import StandardLearner
from fashreg.testing.tiny_run import tiny_encoder, tiny_experience, tiny_session, weights_of
from fashreg.training.processes import Processes
from fashreg.values import Embedded, TrainingBatch


class Pulled(StandardLearner):
    """With a penalty, a mean over the rows."""

    def penalty(self, batch: TrainingBatch, embedded: Embedded) -> Tensor:
        return (embedded.vectors[:, 0] * batch.ids / 100).mean()


def train() -> dict[str, Tensor]:
    """Losses and gradients of every step, and where everything ended."""
    trainer = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.001, "schedule": "constant"}
    session = tiny_session(encoder=tiny_encoder("test_convnext"), trainer=trainer)
    for module in (session.encoder, session.loss):
        module.double()  # so that the order of sums does not hide a wrong gradient
    session.encoder.register_forward_pre_hook(lambda module, given: (given[0].double(), *given[1:]))
    learner = Pulled().bind(session)
    found: dict[str, Tensor] = {}
    own_average, own_objective = session.processes.average_gradients, learner.objective

    def average(parameters: list[torch.nn.Parameter]) -> None:
        own_average(parameters)
        for number, parameter in enumerate(parameters):
            if parameter.grad is not None:
                found[f"gradient {len(found)} {number}"] = parameter.grad.contiguous().clone()

    def objective(batch: TrainingBatch):  # type: ignore[no-untyped-def]
        made = own_objective(batch)
        found[f"loss {len(found)}"] = (made.value - made.parts["penalty"]).detach().clone()
        found[f"penalty {len(found)}"] = made.parts["penalty"].detach().clone()
        return made

    session.processes.average_gradients = average  # type: ignore[method-assign]
    learner.objective = objective  # type: ignore[method-assign]
    learner.learn(tiny_experience())
    return {**found, **{f"end {name}": value.contiguous() for name, value in weights_of(session).items()}}


def exchange() -> None:
    """Unequal shares, absent gradients, small messages: asserts on each of two processes."""
    processes = Processes()
    rank, count = processes.rank, 3 - processes.rank  # three rows and two
    rows = torch.arange(10.0).view(5, 2)[rank * 3 : rank * 3 + count].requires_grad_()
    ids = torch.arange(count) + 3 * rank
    whole = processes.gather(Embedded(rows, ids, ids, unit=True))
    assert whole.vectors.flatten().tolist() == list(range(10))
    assert whole.ids.tolist() == [0, 1, 2, 3, 4]
    assert whole.unit
    assert processes.own_rows(count) == slice(rank * 3, rank * 3 + count)
    ((rank + 1.0) * whole.vectors).sum().backward()  # 1 on the first process, 2 on the second
    assert rows.grad is not None
    assert bool((rows.grad == 3.0).all())
    here, nowhere, everywhere = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    if rank == 0:
        here.grad = torch.full((2,), 4.0)
    everywhere.grad = torch.full((2,), float(rank))
    processes.average_gradients([here, nowhere, everywhere])
    assert here.grad is not None
    assert here.grad.tolist() == [2.0, 2.0]
    assert nowhere.grad is None
    assert everywhere.grad is not None
    assert everywhere.grad.tolist() == [0.5, 0.5]
    norm = torch.nn.BatchNorm1d(1)
    norm.running_mean.fill_(float(rank))  # type: ignore[union-attr]
    processes.average_buffers(norm)
    assert norm.running_mean.item() == 0.5  # type: ignore[union-attr]
    assert processes.any(rank == 1)
    assert not processes.any(False)
    assert processes.from_first({"rank": rank}) == {"rank": 0}
    assert processes.collect(rank) == [0, 1]
    assert processes.first == (rank == 0)
    processes.wait()


if __name__ == "__main__":
    torch.set_num_threads(1)
    exchange()
    save_file(train(), Path(sys.argv[1]) / f"{Processes().rank}.safetensors")
    torch.distributed.destroy_process_group()

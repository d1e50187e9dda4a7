"""How much each weight matters for a loss: the diagonal of its empirical Fisher information."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from fashreg.training.session import Session, Source
from fashreg.values import Embedded, TrainingBatch
from fashreg_mclfir.passing import single


def fisher_diagonal(
    session: Session, source: Source, parameters: list[nn.Parameter], tuples: int, per: Literal["sample", "batch"]
) -> list[Tensor]:
    """Mean squared gradients of the session's loss over about `tuples` training tuples, shaped as the parameters.

    Evaluation mode, float32, on whole batches of an epoch that training does not see, at most all of it. n: pictures of
    a batch over all processes, G_i: derivative of the batch's loss by row i, J_i: of row i by a parameter.

        per "sample":  mean_i (n J_i' G_i)^2, since the batch's gradient is the mean over i of n J_i' G_i
        per "batch":   n (batch's gradient)^2, equal in expectation where those are independent with mean zero

    "sample" runs every picture alone; both are the same on all processes, and counted.
    """
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    images, one = 0, _of_pictures if per == "sample" else _of_batch
    with session.encoder.evaluating():
        for batch in _batches(session, source, tuples):
            images += one(session, batch, parameters, sums)
    holder = nn.Module()
    for number, value in enumerate(sums):
        holder.register_buffer(f"f{number}", value)
    session.processes.average_buffers(holder)  # "sample": each process has its own pictures; "batch": all are equal
    return [value / max(1, images) for value in sums]


def _batches(session: Session, source: Source, tuples: int) -> Iterator[TrainingBatch]:
    """Whole batches of the epoch after the last until there are `tuples` over all processes, or the epoch ends."""
    halves = getattr(session.loss, "mode", "") == "pairs"
    source.sampler.set_epoch(session.trainer.epochs)
    for batch in source.batches(session.trainer.epochs):
        yield batch.to(session.processes.device)
        tuples -= len(batch) * session.processes.size // (2 if halves else 1)
        if tuples <= 0:
            return


def _of_batch(session: Session, batch: TrainingBatch, parameters: list[nn.Parameter], sums: list[Tensor]) -> int:
    rows = session.processes.gather(_rows(session, batch))
    session.cost.forward(len(batch))
    session.cost.backward(len(batch))
    _differentiate(session.loss(rows), parameters)
    session.processes.average_gradients(parameters)
    for value, parameter in zip(sums, parameters, strict=True):
        if parameter.grad is not None:
            value.add_(parameter.grad.square(), alpha=len(rows) ** 2)
            parameter.grad = None
    return len(rows)


def _of_pictures(session: Session, batch: TrainingBatch, parameters: list[nn.Parameter], sums: list[Tensor]) -> int:
    with torch.no_grad():
        found = _rows(session, batch)
    own = Embedded(found.vectors.requires_grad_(), found.labels, found.ids, found.unit)
    rows = session.processes.gather(own)
    (pull,) = torch.autograd.grad(session.loss(rows), own.vectors)
    pull *= len(rows) / session.processes.size  # gathering adds the derivatives of all processes
    for i in range(len(batch)):
        alone = session.encoder(batch.images[i : i + 1], batch.task, batch.stage)
        _differentiate((alone * pull[i]).sum(), parameters)
        for value, parameter in zip(sums, parameters, strict=True):
            if parameter.grad is not None:
                value.addcmul_(parameter.grad, parameter.grad, value=float(session.processes.size))
                parameter.grad = None
    session.cost.forward(2 * len(batch))
    session.cost.backward(len(batch))
    return len(rows)


def _differentiate(value: Tensor, parameters: list[nn.Parameter]) -> None:
    """Put derivatives into `grad` of these parameters alone."""
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient


def _rows(session: Session, batch: TrainingBatch) -> Embedded:
    vectors = single(session.encoder(batch.images, batch.task, batch.stage))
    return Embedded(vectors, batch.labels, batch.ids, unit=session.encoder.head.unit)

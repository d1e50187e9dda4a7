"""From a batch to rows, and from rows to a loss: what the standard learner does, as functions that others can use."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fashreg.training.session import Session, Source
from fashreg.values import Embedded, TrainingBatch


class Objective(NamedTuple):
    """What one batch is worth. value: scalar with gradient. rows: of all processes, for the memory. parts: to log."""

    value: Tensor
    rows: Embedded
    parts: dict[str, Tensor]


def embed_batch(session: Session, batch: TrainingBatch) -> tuple[Embedded, Embedded | None]:
    """This process's rows with gradient, and those of the second view if there is one; float32 also under autocast.

    Both views pass through the encoder as one batch. What it costs is counted.
    """
    encoder, count = session.encoder, len(batch)
    images = batch.images if batch.second_view is None else torch.cat([batch.images, batch.second_view])
    with session.processes.autocast():
        vectors = encoder(images, batch.task, batch.stage)
    session.cost.forward(len(images))
    if vectors.requires_grad:
        session.cost.backward(len(images))
    if vectors.dtype in (torch.float16, torch.bfloat16):
        vectors = vectors.float()
    rows = Embedded(vectors[:count], batch.labels, batch.ids, unit=encoder.head.unit)
    return rows, None if batch.second_view is None else replace(rows, vectors=vectors[count:])


def loss_with_memory(
    session: Session, source: Source, batch: Embedded, partners: Embedded | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """w_b loss(batch) + w_m loss(batch, memory), and the named parts; without remembered rows, loss(batch).

    batch: the rows of all processes. partners: rows that belong to the batch's rows place by place (a second view). A
    loss whose `mode` is "pairs" gets the second half of the batch as partners of the first (as the sampler `pairs`
    lays them out) when there are none. A memory that has `parts`, as a loss has, gets them logged, too.
    """
    loss, memory = session.loss, session.memory
    if partners is None and getattr(loss, "mode", "") == "pairs":
        half = len(batch) // 2
        batch, partners = _rows(batch, slice(0, half)), _rows(batch, slice(half, 2 * half))
    remembered = _remembered(session, source, batch)
    if memory is None or remembered is None:
        value = loss(batch) if partners is None else loss(batch, partners)
        return value, {**loss.parts, **getattr(memory, "parts", {})}
    far = loss(batch, remembered)
    value = memory.memory_weight * far
    parts = {"memory": far, **{f"memory.{name}": part for name, part in loss.parts.items()}}
    if memory.batch_weight > 0.0:
        near = loss(batch) if partners is None else loss(batch, partners)
        value = value + memory.batch_weight * near
        parts |= {"batch": near, **{f"batch.{name}": part for name, part in loss.parts.items()}}
    return value, {**parts, **getattr(memory, "parts", {})}


def _remembered(session: Session, source: Source, batch: Embedded) -> Embedded | None:
    """What the memory gives for this batch, None when there is no memory or nothing in it that counts."""
    memory = session.memory
    if memory is None:
        return None
    memory.align(batch.detach())
    if wanted := int(getattr(memory, "wanted", int)()):
        with session.encoder.evaluating(), torch.no_grad():
            for sample in source.sample(wanted):
                memory.push(embed_batch(session, sample)[0])
    remembered: Embedded = memory.read()
    return remembered if len(remembered) and memory.memory_weight > 0.0 else None


def _rows(batch: Embedded, part: slice) -> Embedded:
    return replace(batch, vectors=batch.vectors[part], labels=batch.labels[part], ids=batch.ids[part])

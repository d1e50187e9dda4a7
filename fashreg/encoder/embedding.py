"""Pictures and texts to embedding vectors, in order: the network in evaluation mode, no gradients.

The vectors of several tasks come from one pass of the trunk, to the bit those of a pass for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fashreg.encoder.asked import Asked, Batch, Items, Reading, Texts, asked_of, pass_all
from fashreg.encoder.questions import Question, answering, kinds_of, task_for
from fashreg.functional.names import listed

if TYPE_CHECKING:
    from fashreg.encoder import Encoder


def embed_items(
    encoder: Encoder, items: Items | None, texts: Texts | None, task: str | None, reading: Reading
) -> Tensor:
    """See `Encoder.embed`."""
    if items is None and texts is None:
        raise ValueError("nothing to embed: give pictures, texts=..., or both")
    question: Question = "pictures" if texts is None else "texts" if items is None else "both"
    named = task_for(encoder, question, task)

    def answer(batch: Batch) -> list[Tensor]:
        images, said = batch
        if said is None:
            assert images is not None
            return [encoder(images, named, reading.stage)]
        return [encoder.head(encoder.features(images, said, named), named)]

    return filled(encoder, asked_of(encoder, items, texts, reading), answer, [encoder.embed_dim], reading.progress)[0]


def embed_items_by_task(
    encoder: Encoder, items: Items, tasks: Sequence[str] | None, reading: Reading
) -> dict[str, Tensor]:
    """See `Encoder.embed_tasks`."""
    wanted = _known_tasks(encoder, tasks)

    def answers(batch: Batch) -> Iterator[Tensor]:
        images, _ = batch
        assert images is not None
        if getattr(encoder.backbone, "tasks", ()):
            return (encoder(images, task, reading.stage) for task in wanted)
        features = encoder.steps(images, reading.stage, encoder.cuts)
        return (encoder.head(features, task) for task in wanted)

    asked = asked_of(encoder, items, None, reading)
    made = filled(encoder, asked, answers, [encoder.embed_dim] * len(wanted), reading.progress)
    return dict(zip(wanted, made, strict=True))


def filled(
    encoder: Encoder, asked: Asked, answers: Callable[[Batch], Iterable[Tensor]], widths: Sequence[int], progress: bool
) -> list[Tensor]:
    """A tensor (N, width) for each width: what `answers` makes of the batches, float32 on the CPU."""
    rows = [torch.empty(asked.rows, width) for width in widths]

    def answer(start: int, batch: Batch) -> None:
        for found, made in zip(rows, answers(batch), strict=True):
            found[start : start + len(made)] = made.float().cpu()

    pass_all(encoder, asked, answer, progress=progress)
    return rows


def _known_tasks(encoder: Encoder, tasks: Sequence[str] | None) -> list[str]:
    """The tasks to answer, each once; ValueError for those that the head does not serve."""
    known = tuple(encoder.head.tasks)
    if not known:
        raise ValueError("this encoder has no tasks, but one vector for everything: use embed(items)")
    if tasks is None and kinds_of(encoder):
        tasks = answering(encoder, "pictures")
    wanted = list(dict.fromkeys(listed(known if tasks is None else tasks)))
    strange = [task for task in wanted if task not in known]
    if strange:
        raise ValueError(f"no task {strange[0]!r}; the tasks are {', '.join(known)}")
    return wanted

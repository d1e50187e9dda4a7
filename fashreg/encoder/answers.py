"""What an encoder says in words: the classes of pictures, and captions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from fashreg.encoder.asked import Batch, Items, Reading, Texts, asked_of, pass_all
from fashreg.encoder.embedding import filled
from fashreg.encoder.questions import task_for
from fashreg.errors import ModelError

if TYPE_CHECKING:
    from fashreg.encoder import Encoder


def logits_of(encoder: Encoder, items: Items, texts: Texts | None, task: str | None, reading: Reading) -> Tensor:
    """See `Encoder.logits`."""
    named = task_for(encoder, "classes", task)
    if texts is None and hasattr(encoder.backbone, "compose"):
        texts = [""]

    def answer(batch: Batch) -> list[Tensor]:
        features = encoder.features(*batch, named)
        return [encoder.head.classify(features, named)]

    asked = asked_of(encoder, items, texts, reading)
    return filled(encoder, asked, answer, [len(class_names(encoder, named))], reading.progress)[0]


def classes_of(
    encoder: Encoder, items: Items, texts: Texts | None, task: str | None, k: int, reading: Reading
) -> list[list[tuple[str, float]]]:
    """See `Encoder.classify`."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    named = task_for(encoder, "classes", task)
    names = class_names(encoder, named)
    found = logits_of(encoder, items, texts, named, reading).softmax(dim=1)
    best = found.topk(min(k, len(names)), dim=1)
    return [
        [(names[place], share) for place, share in zip(places, shares, strict=True)]
        for places, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def captions_of(
    encoder: Encoder, items: Items, task: str | None, beams: int, length: int | None, reading: Reading
) -> list[str]:
    """See `Encoder.caption`."""
    for name, value in (("beams", beams), ("length", length)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    named = task_for(encoder, "captions", task)
    written: list[str] = []

    def answer(start: int, batch: Batch) -> None:
        words = partial(encoder.head.words, task=named)
        written.extend(encoder.backbone.captions(batch[0], words, named, beams=beams, length=length))

    pass_all(encoder, asked_of(encoder, items, None, reading), answer, progress=reading.progress)
    return written


def class_names(encoder: Encoder, task: str | None) -> list[str]:
    """Names of the classes that a task tells apart, in the order of its logits; ModelError where it was told none."""
    names = encoder.head.classes.get(task)
    if not names:
        raise ModelError(f"the head was told no classes of the task {task!r}; train it on a table with labels")
    return list(names)

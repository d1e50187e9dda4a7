"""What a model says of a batch, by the kind of its task: rows that are compared, or logits with what is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fashreg.encoder import Encoder
from fashreg.values import TrainingBatch
from fashreg_famevil.losses import caption_targets

#: Fields of TrainingBatch that a kind of task cannot do without, beyond images, labels and ids.
NEEDS: dict[str, frozenset[str]] = {
    "cross-modal": frozenset({"texts"}),
    "composed": frozenset({"texts", "targets"}),
    "classification": frozenset({"texts"}),
    "captioning": frozenset({"texts"}),
}
#: Kinds that look from rows to columns and back; the others look one way, or do not compare rows.
BOTH_WAYS = frozenset({"cross-modal"})


@dataclass(frozen=True)
class Answers:
    """What a model says of a batch of B.

    rows: (B, E) unit rows: pictures, or questions of picture and text. columns: (B, E) unit rows that belong to them
    place by place: texts, or target pictures; None where classes or words are told. scale: a, so that 1 / a^2 is the
    temperature. logits: (n, C), with targets (n,): a row for a picture, or for a place of a caption that counts.
    pictures: how many passed through the image tower.
    """

    rows: Tensor
    columns: Tensor | None = None
    scale: Tensor | None = None
    logits: Tensor | None = None
    targets: Tensor | None = None
    pictures: int = 0


def answers_of(encoder: Encoder, batch: TrainingBatch, task: str, *, count_padding: bool = False) -> Answers:
    """What the encoder says of the batch, asked as its task's kind wants; the batch is only read.

    count_padding: places after the end of a caption count too (`fashreg_famevil.losses.caption_targets`).
    """
    backbone: Any = encoder.backbone
    kind = backbone.kinds[task]
    if kind == "captioning":
        return captioning(encoder, batch, task, count_padding)
    return _ASKED[kind](encoder, batch, task)


def without_some_texts(batch: TrainingBatch, share: float) -> TrainingBatch:
    """The batch with about this share of its texts empty, drawn from torch's global random numbers."""
    left_out = (torch.rand(len(batch)) < share).tolist()
    return replace(batch, texts=["" if out else text for text, out in zip(_texts(batch), left_out, strict=True)])


def cross_modal(encoder: Encoder, batch: TrainingBatch, task: str) -> Answers:
    """Pictures, and the texts that belong to them: each tower alone."""
    head: Any = encoder.head
    texts = encoder.forward_text(_texts(batch), task)
    return Answers(encoder(batch.images, task), texts, head.scale_of(task), pictures=len(batch))


def composed(encoder: Encoder, batch: TrainingBatch, task: str) -> Answers:
    """Questions of a picture and a text, both towers in step; and the pictures that they ask for, the tower alone."""
    head: Any = encoder.head
    if batch.targets is None:
        raise ValueError(f"task {task!r} is of kind composed and needs target pictures; name their column: data.target")
    rows = encoder.forward_composed(batch.images, _texts(batch), task)
    return Answers(rows, encoder(batch.targets, task), head.scale_of(task), pictures=2 * len(batch))


def classification(encoder: Encoder, batch: TrainingBatch, task: str) -> Answers:
    """Classes of pictures with their texts, both towers in step."""
    backbone: Any = encoder.backbone
    head: Any = encoder.head
    features = backbone.compose(batch.images, _texts(batch), task)
    logits = head.classify(features, task)
    return Answers(head(features, task), logits=logits, targets=batch.labels, pictures=len(batch))


def captioning(encoder: Encoder, batch: TrainingBatch, task: str, count_padding: bool = False) -> Answers:
    """The next word at every place of a text that counts, with the picture to look at. Other places are not computed.

    rows: the pictures alone, as this task's adapters see them.
    """
    backbone: Any = encoder.backbone
    head: Any = encoder.head
    trunk, tokens = backbone.trunk, backbone.tokenize(_texts(batch))
    memory = trunk.memory(batch.images, task)
    hidden = trunk.hidden(tokens, trunk.contexts(memory), task)[:, :-1]
    following = caption_targets(tokens, count_padding=count_padding)
    counts = following != -100
    logits = head.words(trunk.said(hidden[counts], task), task)
    rows = head(backbone.pool(memory[-1]), task)
    return Answers(rows, logits=logits, targets=following[counts], pictures=len(batch))


def _texts(batch: TrainingBatch) -> list[str]:
    if batch.texts is None:
        raise ValueError("the task needs a text for every row; name their column: data.text")
    return list(batch.texts)


_ASKED: dict[str, Callable[[Encoder, TrainingBatch, str], Answers]] = {
    "cross-modal": cross_modal,
    "composed": composed,
    "classification": classification,
}
